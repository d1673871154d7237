import { isFinal } from '#core/tasks/states.ts'
import { waitFor } from '../wait-for.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Those who wait for the ends of tasks. */
export interface Endings {
  /** The task once it has ended, or as it is after `ms`, or when the client is gone. @throws `task.not_found` */
  wait(id: string, ms: number, signal?: AbortSignal): Promise<TaskRecord>
  close(): void
}

export function createEndings(store: Pick<TaskStore, 'changes' | 'get'>): Endings {
  const waiting = new Map<string, Set<() => void>>()
  const onChange = ({ id, state }: TaskRecord) => {
    if (waiting.size > 0 && isFinal(state)) for (const resolve of waiting.get(id) ?? []) resolve()
  }
  store.changes.on('change', onChange)

  return {
    async wait(id, ms, signal) {
      if (ms <= 0) return store.get(id)
      let wake: (() => void) | undefined
      const ended = new Promise<void>((resolve) => {
        wake = resolve
      })
      const others = waiting.get(id) ?? new Set<() => void>()
      if (wake) waiting.set(id, others.add(wake))
      try {
        // Waiting begins before looking, so that no end falls between.
        const task = await store.get(id)
        if (isFinal(task.state)) return task
        await waitFor(ended, ms, signal)
        return await store.get(id)
      } finally {
        if (wake) others.delete(wake)
        if (others.size === 0) waiting.delete(id)
      }
    },
    close: () => void store.changes.off('change', onChange),
  }
}
