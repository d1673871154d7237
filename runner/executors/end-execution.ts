import { setTimeout } from 'node:timers/promises'
import { errorMessage } from '#core/errors.ts'
import type { Executor } from './executor.ts'
import type { TaskRun } from './task-run.ts'

/** One that nobody wants any more may be running a second time elsewhere: it gets no more than this. */
const UNWANTED_GRACE_SECONDS = 5
/** SIGKILL is repeated so often until it has worked. */
const REPEAT_MS = 5000

/**
 * Ends what runs: the order's signal, its grace time, then SIGKILL until it is over.
 *
 * @param over fires when it has ended, or the Runner stops
 */
export async function endExecution(run: TaskRun, executor: Pick<Executor, 'signal'>, over: AbortSignal): Promise<void> {
  const { signal, graceSeconds } = run.record.order
  await send(run, executor, signal, over)
  if (signal !== 'SIGKILL') {
    await pause(graceSeconds * 1000, AbortSignal.any([over, run.unwanted]))
    if (run.unwanted.aborted) await pause(Math.min(graceSeconds, UNWANTED_GRACE_SECONDS) * 1000, over)
  }
  while (!over.aborted) {
    await send(run, executor, 'SIGKILL', over)
    await pause(REPEAT_MS, over)
  }
}

// --- internal ---

async function send(run: TaskRun, executor: Pick<Executor, 'signal'>, signal: Parameters<Executor['signal']>[1], over: AbortSignal): Promise<void> {
  if (over.aborted) return
  try {
    await executor.signal(run, signal)
  } catch (error) {
    if (!over.aborted) run.tell(`The task could not be sent ${signal}: ${errorMessage(error)}`)
  }
}

/** Or until `signal` fires. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => undefined)
}
