/** Does one work again and again, never twice at once, and never more often than it is worth. */
export interface Pace {
  /** It is needed now. A quarter of the time at most goes into it: the more comes together, the less each costs. */
  soon(): void
  /** It can wait a little: a twentieth of the time at most goes into it for that. */
  later(): void
  close(): void
}

/** In times of what the work cost. */
const REST_SOON = 3
const REST_LATER = 19

/** @param work resolves to the ms for which nobody else could do anything; what it waits for does not count. MUST NOT reject */
export function createPace(work: () => Promise<number>): Pace {
  let rest: number | undefined
  let last = { ended: -Infinity, cost: 0 }
  let isBusy = false
  let isClosed = false
  let timer: NodeJS.Timeout | undefined

  function ask(wanted: number): void {
    if (isClosed || (rest !== undefined && rest <= wanted)) return
    rest = wanted
    arm()
  }

  /** Not before the rest is over, and after all that is going on now. */
  function arm(): void {
    if (isBusy || rest === undefined) return
    clearTimeout(timer)
    const waitMs = last.ended + rest * last.cost - performance.now()
    if (waitMs > 0) timer = setTimeout(begin, waitMs)
    else setImmediate(begin)
  }

  function begin(): void {
    if (isBusy || isClosed || rest === undefined) return
    rest = undefined
    isBusy = true
    void workOnce()
  }

  async function workOnce(): Promise<void> {
    const cost = await work()
    isBusy = false
    last = { ended: performance.now(), cost }
    if (!isClosed) arm()
  }

  return {
    soon: () => ask(REST_SOON),
    later: () => ask(REST_LATER),
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}
