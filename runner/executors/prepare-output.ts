import { isHakuError } from '#core/errors.ts'
import { createBackoff } from '../backoff.ts'
import { openOutputFiles, type OutputFiles } from './output-files.ts'
import type { ExecutorServices } from './services.ts'
import { TaskFailure } from './task-failure.ts'
import type { TaskRun } from './task-run.ts'

const TRIES = 4

/** Step: empty output files, so that a task that prints nothing has them too. */
export async function prepareOutput(run: TaskRun, { paths }: ExecutorServices): Promise<OutputFiles> {
  const backoff = createBackoff({ firstMs: 300, maxMs: 2000 })
  for (let attempt = 1; ; attempt++) {
    try {
      return await openOutputFiles(paths, run.record.order, { from: 'empty', maxBytes: run.record.order.maxOutputBytes })
    } catch (error) {
      if (attempt === TRIES || !isHakuError(error)) throw new TaskFailure('output_failed', error)
      run.tell(error.message)
    }
    await backoff.wait(run.interrupted)
  }
}
