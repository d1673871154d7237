/** Runs what it is given, so many at a time, in order. */
export function createLimit(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      return await work()
    } finally {
      // The place goes on to the next, so that nobody comes between.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
