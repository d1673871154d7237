/** Work in lanes: so much at a time in each, the rest behind it in its order, and no lane waits for another. */
export interface Lanes {
  run<T>(lane: string, work: () => Promise<T>): Promise<T>
}

interface Lane {
  busy: number
  waiting: (() => void)[]
}

export function createLanes(width: number): Lanes {
  const lanes = new Map<string, Lane>()
  return {
    async run(name, work) {
      const lane = lanes.get(name) ?? { busy: 0, waiting: [] }
      lanes.set(name, lane)
      if (lane.busy < width) lane.busy++
      else await new Promise<void>((resolve) => lane.waiting.push(resolve))
      try {
        return await work()
      } finally {
        const next = lane.waiting.shift()
        // The place is handed on.
        if (next) next()
        else if (--lane.busy === 0) lanes.delete(name)
      }
    },
  }
}
