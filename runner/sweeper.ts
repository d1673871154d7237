import { setTimeout } from 'node:timers/promises'
import { isHakuError } from '#core/errors.ts'

/** The Host gets so many beats to ask again for what it believes to run here, if the state of this node was lost. */
const BEATS = 2
const INTERVAL_MS = 10 * 60_000

/**
 * Sweeps after the first registration, and then from time to time: an Engine may have made something although the call for it failed.
 *
 * @returns a function that tells of a registration with a Host that expects a beat every so many seconds
 */
export function createSweeper(sweep: () => Promise<void>, closing: AbortSignal): (heartbeatSeconds: number) => void {
  let isStarted = false

  async function sweepOn(firstMs: number): Promise<void> {
    for (let pause = firstMs; ; pause = INTERVAL_MS) {
      await setTimeout(pause, undefined, { signal: closing, ref: false })
      await sweep().catch((error: unknown) => {
        if (!closing.aborted && !isHakuError(error, 'engine.unavailable')) console.error('[hakuriver] [runner] what belongs to unknown tasks could not be removed:', error)
      })
    }
  }

  return (heartbeatSeconds) => {
    if (isStarted) return
    isStarted = true
    sweepOn(BEATS * 1000 * heartbeatSeconds).catch((error: unknown) => {
      if (!closing.aborted) throw error
    })
  }
}
