import { setTimeout } from 'node:timers/promises'

/** Growing pauses between tries that go on for ever. */
export interface Backoff {
  /** Waits for the next pause. Rejects when `signal` fires. */
  wait(signal: AbortSignal): Promise<void>
  /** After a success: the next pause is a short one. */
  reset(): void
}

export interface BackoffOptions {
  firstMs: number
  maxMs: number
}

/** Jittered between half and all of each pause, so that a hundred Runners do not come back at the same instant. */
export function createBackoff({ firstMs, maxMs }: BackoffOptions): Backoff {
  let pause = firstMs
  return {
    async wait(signal) {
      const jittered = pause * (0.5 + Math.random() / 2)
      pause = Math.min(pause * 2, maxMs)
      await setTimeout(jittered, undefined, { signal })
    },
    reset() {
      pause = firstMs
    },
  }
}
