import { setMaxListeners } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { errorMessage, type ErrorKind, isHakuError } from '#core/errors.ts'

/** For what is told once and must not be lost because the Host could not store something at that moment: its disk is full, its database is locked. See `TaskStore.untilWritten`. */
export interface UntilWritten {
  /**
   * Does the work again until it succeeds, or the Host closes. `work` MUST look at what there is by then, and come to nothing where it was done
   * already. Resolves when it is done or given up, and never rejects. `what`: for the log, such as `that … could not be stored`.
   */
  run(what: string, work: () => Promise<unknown>): Promise<void>
  close(): void
}

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5000
/** The Host's own trouble, and what no code was given to. All else would come out the same the next time. */
const TRANSIENT: readonly ErrorKind[] = ['unavailable', 'internal']

export function createUntilWritten(): UntilWritten {
  const closing = new AbortController()
  // One for each work that waits.
  setMaxListeners(0, closing.signal)

  /** Whether that was the last try. */
  async function tryOnce(what: string, work: () => Promise<unknown>, isFirst: boolean): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      if (closing.signal.aborted || isHakuError(error, 'host.stopping')) return true
      const isLast = isHakuError(error) && !TRANSIENT.includes(error.kind)
      if (isFirst || isLast) console.error(`[hakuriver] [queue] ${what}${isLast ? '' : ', and is tried again until it is'}: ${errorMessage(error)}`)
      return isLast
    }
  }

  return {
    async run(what, work) {
      for (let pauseMs = FIRST_PAUSE_MS; !(await tryOnce(what, work, pauseMs === FIRST_PAUSE_MS)); pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
        await setTimeout(pauseMs, undefined, { signal: closing.signal, ref: false }).catch(() => undefined)
        if (closing.signal.aborted) return
      }
    },
    close: () => closing.abort(),
  }
}
