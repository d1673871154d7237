import type { SyncProgress } from '#core/api/schemas.ts'

/** Each one is a report to the Host and a write there. */
const INTERVAL_MS = 1000

/** Tells how far a load is: at its beginning, and then once a second at most. */
export interface ProgressMeter {
  /** A load of so many bytes begins, or begins anew. */
  begin(totalBytes: number): void
  /** Bytes so far. */
  advance(bytes: number): void
}

export function createProgressMeter(tell: (progress: SyncProgress) => void, now: () => number = Date.now): ProgressMeter {
  let totalBytes = 0
  let last = { time: 0, bytes: 0 }

  return {
    begin(total) {
      totalBytes = total
      last = { time: now(), bytes: 0 }
      tell({ bytes: 0, totalBytes, bytesPerSecond: null })
    },
    advance(bytes) {
      const time = now()
      if (time - last.time < INTERVAL_MS) return
      const bytesPerSecond = Math.round((1000 * (bytes - last.bytes)) / (time - last.time))
      last = { time, bytes }
      tell({ bytes, totalBytes, bytesPerSecond })
    },
  }
}
