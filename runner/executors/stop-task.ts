import { isHakuError } from '#core/errors.ts'
import { untilEngineAnswers } from './engine-retry.ts'
import type { ExecutorServices } from './services.ts'
import type { TaskRun } from './task-run.ts'

/** Between SIGTERM and SIGKILL. */
const GRACE_SECONDS = 10

/** Ends the container of a killed task. One that has ended or is gone by itself is as good. */
export async function stopTask(run: TaskRun, { engine, closing }: ExecutorServices, containerId: string): Promise<void> {
  await untilEngineAnswers(run, closing, async () => {
    try {
      // A frozen process gets no signal.
      if (run.record.report.state === 'paused') await engine.unpauseContainer(containerId).catch(passConflict)
      await engine.stopContainer(containerId, GRACE_SECONDS)
    } catch (error) {
      if (!isHakuError(error, 'container.not_found', 'container.not_running')) throw error
    }
  })
}

// --- internal ---

/** Not paused any more. */
function passConflict(error: unknown): void {
  if (!isHakuError(error, 'engine.conflict', 'container.not_running', 'engine.failed')) throw error
}
