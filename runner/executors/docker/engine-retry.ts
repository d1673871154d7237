import { isHakuError } from '#core/errors.ts'
import { createBackoff } from '../../backoff.ts'
import type { TaskRun } from '../task-run.ts'

/**
 * Repeats `call` until the Engine answers it, telling the user meanwhile. Its other errors are thrown.
 *
 * @param signal ends the waiting: rejects with an `AbortError`
 */
export async function untilEngineAnswers<T>(run: TaskRun, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  const backoff = createBackoff({ firstMs: 200, maxMs: 10_000 })
  let waited = false
  for (;;) {
    try {
      const answer = await call()
      if (waited) run.tell(null)
      return answer
    } catch (error) {
      if (!isHakuError(error, 'engine.unavailable')) throw error
      waited = true
      run.tell(error.message)
    }
    await backoff.wait(signal)
  }
}
