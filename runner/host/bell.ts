/** Wakes one waiter when there is something to do. */
export interface Bell {
  /** An urgent ring wakes at once, another a moment later, so that what comes meanwhile goes along. */
  ring(urgent: boolean): void
  /** Resolves at the next ring, or at once if it rang since the last wait. @throws the reason of `signal` */
  wait(signal: AbortSignal): Promise<void>
}

/** @param gatherMs what is not urgent may wait so long */
export function createBell(gatherMs: number): Bell {
  let timer: NodeJS.Timeout | undefined
  let hasRung = false
  let wake: (() => void) | undefined

  function fire(): void {
    clearTimeout(timer)
    timer = undefined
    hasRung = true
    wake?.()
  }

  return {
    ring(urgent) {
      if (hasRung) return
      if (urgent) fire()
      else timer ??= setTimeout(fire, gatherMs)
    },
    async wait(signal) {
      signal.throwIfAborted()
      if (!hasRung) {
        await new Promise<void>((resolve, reject) => {
          const abort = () => reject(signal.reason as Error)
          signal.addEventListener('abort', abort, { once: true })
          wake = () => {
            signal.removeEventListener('abort', abort)
            resolve()
          }
        })
      }
      wake = undefined
      hasRung = false
    },
  }
}
