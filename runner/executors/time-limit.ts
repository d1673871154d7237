import { setTimeout } from 'node:timers/promises'
import type { RunnerState } from '../state/state.ts'
import type { Executor } from './executor.ts'
import type { TaskRun } from './task-run.ts'

/** A timer can not be set for longer. */
const MAX_PAUSE_MS = 2 ** 31 - 1

/**
 * Ends an execution that runs for too long.
 *
 * @param over fires when it has ended, or the Runner stops
 */
export async function enforceTimeLimit(run: TaskRun, executor: Pick<Executor, 'runningMs'>, { state }: { state: Pick<RunnerState, 'save' | 'saveSoon'> }, over: AbortSignal): Promise<void> {
  const { record } = run
  if (record.order.timeLimitSeconds === null) return
  try {
    // Timers do not go by the clock of the day either.
    const end = performance.now() + record.order.timeLimitSeconds * 1000 - (await executor.runningMs(run))
    for (let left = end - performance.now(); left > 0; left = end - performance.now()) await setTimeout(Math.min(left, MAX_PAUSE_MS), undefined, { signal: over })
    if (over.aborted || run.ending.aborted) return
    record.isTimedOut = true
    // On the disk first: why it ended must not depend on whether the Runner lives on. A disk that is full is no reason to let it run.
    await state.save(record).catch(() => state.saveSoon(record))
    run.end()
  } catch (error) {
    if (!over.aborted) throw error
  }
}
