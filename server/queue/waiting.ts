import { isFinal } from '#core/tasks/states.ts'
import { waitFor } from '../wait-for.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** The task once it has ended, or as it is after `ms`, or when the client is gone. */
export async function waitUntilFinal(store: TaskStore, id: string, ms: number, signal?: AbortSignal): Promise<TaskRecord> {
  let listener: ((task: TaskRecord) => void) | undefined
  const ended = new Promise<void>((resolve) => {
    listener = (task) => {
      if (task.id === id && isFinal(task.state)) resolve()
    }
    // Listening begins before looking, so that no end falls between.
    store.changes.on('change', listener)
  })
  try {
    const task = await store.get(id)
    if (ms <= 0 || isFinal(task.state)) return task
    await waitFor(ended, ms, signal)
    return await store.get(id)
  } finally {
    if (listener) store.changes.off('change', listener)
  }
}
