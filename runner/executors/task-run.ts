import type { TaskReport } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { RunnerState, TaskRecord } from '../state/state.ts'

/** One unfinished execution in the hands of the Runner. */
export interface TaskRun {
  /** Of the task. */
  readonly id: string
  readonly key: string
  readonly record: TaskRecord
  /** Fires when it is to be ended: somebody wants it, or its time is over. */
  readonly ending: AbortSignal
  /** Fires when nobody wants its end told either: it is to be over soon, whatever grace it has. */
  readonly unwanted: AbortSignal
  /** Fires when it is to be ended or the Runner stops: before anything runs, both end the waiting. */
  readonly interrupted: AbortSignal
  end(): void
  abandon(): void
  /** Changes what is known of it, and lets the Host know. Nothing follows a final report. */
  report(change: Partial<TaskReport>): void
  /** Tells people what it waits for; `null`: it goes on. Repeating it is free. */
  tell(message: string | null): void
}

export function createTaskRun(record: TaskRecord, { state, closing }: { state: Pick<RunnerState, 'save' | 'saveSoon'>; closing: AbortSignal }, onReport: (record: TaskRecord) => void): TaskRun {
  const { id } = record.order
  const ending = new AbortController()
  const abandoning = new AbortController()
  if (record.wish === 'kill' || record.isTimedOut) ending.abort()

  function report(change: Partial<TaskReport>): void {
    if (isFinal(record.report.state)) return
    const isPastSync = change.state !== undefined && change.state !== 'syncing'
    const message = change.message && { message: shorten(change.message) }
    record.report = { ...record.report, ...change, ...message, ...(isPastSync && { sync: null }), sequence: record.report.sequence + 1 }
    // A restart finds out by itself whether it runs; that it was made, and how it ended, must not be forgotten.
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
    key: executionKey(record.order),
    record,
    ending: ending.signal,
    unwanted: abandoning.signal,
    interrupted: AbortSignal.any([ending.signal, closing]),
    end: () => ending.abort(),
    abandon() {
      abandoning.abort()
      ending.abort()
    },
    report,
    tell(words) {
      const message = words && shorten(words)
      if (record.report.message === message) return
      if (message !== null) console.error(`[hakuriver] [runner] task ${id}: ${message}`)
      report({ message })
    },
  }
}

// --- internal ---

/** What an Engine or a program says may be of any length, and many reports go together. */
const MAX_MESSAGE = 4096

function shorten(message: string): string {
  return message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message
}
