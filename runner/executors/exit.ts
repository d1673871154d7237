import { errorMessage, isHakuError } from '#core/errors.ts'
import { createBackoff } from '../backoff.ts'
import type { ExecutorServices } from './services.ts'
import type { TaskRun } from './task-run.ts'

/** How a container came to its end. */
export type Exit =
  | {
      exitCode: number
      /** The Engine was away meanwhile, so streams that it served are not to be trusted. */
      interrupted: boolean
    }
  /** Somebody removed it. */
  | 'gone'

/** Waits for the end of a container, however often the Engine goes away. @throws only when the Runner stops */
export async function waitForExit(run: TaskRun, { engine, closing }: ExecutorServices, containerId: string): Promise<Exit> {
  const backoff = createBackoff({ firstMs: 200, maxMs: 10_000 })
  let interrupted = false
  for (;;) {
    try {
      const exitCode = await engine.waitContainer(containerId, { signal: closing })
      if (interrupted) run.tell(null)
      return { exitCode, interrupted }
    } catch (error) {
      closing.throwIfAborted()
      if (isHakuError(error, 'container.not_found')) return 'gone'
      interrupted = true
      run.tell(errorMessage(error))
    }
    await backoff.wait(closing)
  }
}
