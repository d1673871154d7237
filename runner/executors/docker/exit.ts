import type { Engine } from '#core/engine/engine.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { createBackoff } from '../../backoff.ts'
import type { Exit } from '../executor.ts'
import type { TaskRun } from '../task-run.ts'

/** Waits for the end of a container, however often the Engine goes away. @throws only when the Runner stops */
export async function waitForExit(run: Pick<TaskRun, 'tell'>, { engine, closing }: { engine: Pick<Engine, 'waitContainer'>; closing: AbortSignal }, containerId: string): Promise<Exit> {
  const backoff = createBackoff({ firstMs: 200, maxMs: 10_000 })
  let interrupted = false
  for (;;) {
    try {
      const exitCode = await engine.waitContainer(containerId, { signal: closing })
      if (interrupted) run.tell(null)
      const note = interrupted && exitCode === EXIT_UNKNOWN ? 'The Docker Engine was restarted meanwhile: it says 255 too where it missed the true exit code.' : undefined
      return { exitCode, interrupted, note }
    } catch (error) {
      closing.throwIfAborted()
      if (isHakuError(error, 'container.not_found')) return 'gone'
      interrupted = true
      run.tell(errorMessage(error))
    }
    await backoff.wait(closing)
  }
}

// --- internal ---

/** What Docker says of a container that has ended while it was away, if its runtime does not know better. */
const EXIT_UNKNOWN = 255
