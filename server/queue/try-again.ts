import { stateWords } from '#core/tasks/states.ts'
import { plural } from '#core/words.ts'
import type { TaskRecord } from './task-record.ts'

const FIRST_PAUSE_MS = 1000
export const LONGEST_PAUSE_MS = 5 * 60_000

/**
 * What becomes of an execution that has ended and is to be repeated (`--retry`); `undefined`: it stays as it ended. Who was killed, or was to
 * be, is not.
 *
 * @param ended the task as it would be otherwise
 */
export function tryAgain(task: TaskRecord, ended: TaskRecord, now: number): Partial<TaskRecord> | undefined {
  if (ended.state === 'succeeded' || ended.state === 'killed' || task.wish === 'kill' || task.retriesLeft === 0) return undefined
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (task.retries - task.retriesLeft), LONGEST_PAUSE_MS)
  const left = task.retriesLeft - 1
  const how = `${stateWords(ended.state)}${ended.exitCode === null ? '' : ` with exit code ${ended.exitCode}`}${ended.message === null ? '' : `: ${ended.message}`}`
  return { ...toQueue, retriesLeft: left, notBefore: now + pauseMs, stdoutBytes: ended.stdoutBytes, stderrBytes: ended.stderrBytes, message: `Execution ${task.instance} ${how}${how.endsWith('.') ? '' : '.'} Tried again after ${pauseMs / 1000} s; ${left} ${plural('retry', left, 'retries')} left.` }
}

/** What is the case when a task waits again. */
export const toQueue = {
  state: 'queued', wish: 'run', reason: null, message: null, exitCode: null, node: null, gpuIds: [], numaNode: null, notBefore: null, sync: null, started: null, finished: null, sequence: 0, stdoutBytes: null, stderrBytes: null,
} as const satisfies Partial<TaskRecord>
