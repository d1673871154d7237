import type { Task } from '#core/api/schemas.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { isFinal } from '#core/tasks/states.ts'
import { waitFor } from '../wait-for.ts'

/** What of a task its output needs. */
export interface PrintingTask extends Pick<Task, 'id' | 'state' | 'instance' | 'node' | 'started' | 'finished'> {
  /** Of a batch. */
  items: object | null
  /** Final sizes of the output of its last execution, in bytes. */
  stdoutBytes: number | null
  stderrBytes: number | null
}

/** Tasks, and news of each that changes. */
export interface PrintingTasks {
  /** @throws `task.not_found` */
  get(id: string): Promise<PrintingTask>
  changes: Record<'on' | 'off', (event: 'change', listener: (task: Pick<Task, 'id'>) => void) => unknown>
}

/** Whether this execution prints nothing more: the task has ended, or waits for its next one, or has come to that. */
export function isOver(task: PrintingTask, instance: number): boolean {
  return isFinal(task.state) || task.instance > instance || (task.instance === instance && task.state === 'queued')
}

/** How much an execution printed in all; `null` if nobody knows. */
export function finalSize(task: PrintingTask, instance: number, stream: OutputChannel): number | null {
  if (task.instance !== instance || !isOver(task, instance)) return null
  return stream === 'stdout' ? task.stdoutBytes : task.stderrBytes
}

/** Resolves when the task has changed, after `ms`, or when the client is gone. */
export async function nextChange({ changes }: PrintingTasks, id: string, ms: number, signal: AbortSignal): Promise<void> {
  let listener: ((task: Pick<Task, 'id'>) => void) | undefined
  const changed = new Promise<void>((resolve) => {
    listener = (task) => {
      if (task.id === id) resolve()
    }
    changes.on('change', listener)
  })
  await waitFor(changed, ms, signal)
  if (listener) changes.off('change', listener)
}
