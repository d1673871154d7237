/** Work that must not overlap: one at a time for each key, in the order in which it came. */
export interface Turns {
  take<T>(key: string, work: () => Promise<T>): Promise<T>
}

export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return {
    take(key, work) {
      const before = last.get(key)
      const turn = before ? before.then(work, work) : work()
      const settled = turn.then(ignore, ignore).finally(() => {
        if (last.get(key) === settled) last.delete(key)
      })
      last.set(key, settled)
      return turn
    },
  }
}

// --- internal ---

function ignore(): void {
  // Whoever took the turn is told.
}
