import type { TaskReport } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { TaskRecord } from '../state/state.ts'
import type { ExecutorServices } from './services.ts'

/** One unfinished task in the hands of the Runner. */
export interface TaskRun {
  readonly id: string
  readonly record: TaskRecord
  /** Fires when somebody wants the task ended. */
  readonly killed: AbortSignal
  /** Fires when the task is killed or the Runner stops: before a container runs, both end the waiting. */
  readonly interrupted: AbortSignal
  kill(): void
  /** Changes what is known of the task, and lets the Host know. Nothing follows a final report. */
  report(change: Partial<TaskReport>): void
  /** Tells people what the task waits for; `null`: it goes on. Repeating it is free. */
  tell(message: string | null): void
}

export function createTaskRun(record: TaskRecord, { state, closing }: ExecutorServices, onReport: (record: TaskRecord) => void): TaskRun {
  const { id } = record.order
  const killing = new AbortController()
  if (record.wish === 'kill') killing.abort()

  function report(change: Partial<TaskReport>): void {
    if (isFinal(record.report.state)) return
    const isPastSync = change.state !== undefined && change.state !== 'syncing'
    record.report = { ...record.report, ...change, ...(isPastSync && { sync: null }), sequence: record.report.sequence + 1 }
    // A restart finds out by itself whether a container runs; that one was made, and how it ended, must not be forgotten.
    if (record.report.state === 'starting' || isFinal(record.report.state)) keep()
    else state.saveSoon(record)
    onReport(record)
  }

  function keep(): void {
    state.save(record).catch((error: unknown) => {
      console.error(`[hakuriver] [runner] the state of task ${id} can not be written, trying again: ${errorMessage(error)}`)
      state.saveSoon(record)
    })
  }

  return {
    id,
    record,
    killed: killing.signal,
    interrupted: AbortSignal.any([killing.signal, closing]),
    kill: () => killing.abort(),
    report,
    tell(message) {
      if (record.report.message === message) return
      if (message !== null) console.error(`[hakuriver] [runner] task ${id}: ${message}`)
      report({ message })
    },
  }
}
