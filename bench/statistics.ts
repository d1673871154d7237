import { percentile } from '#simulator/percentile.ts'

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** The middle of some numbers. */
export function median(numbers: readonly number[]): number {
  return percentile(numbers, 50)
}

/** What one measurement says: ours against the raw Engine in the same run. */
export interface Result {
  what: string
  raw: number
  ours: number
  unit: string
  /** `ours / raw`. */
  ratio: number
  /** What is to be reached, in words. */
  target: string
  met: boolean
}

export function ratioResult(what: string, raw: number, ours: number, options: { unit: string; atMost?: number; atLeast?: number }): Result {
  const ratio = ours / raw
  const { unit, atMost, atLeast } = options
  const met = ratio <= (atMost ?? Infinity) && ratio >= (atLeast ?? 0)
  return { what, raw, ours, unit, ratio, target: atMost !== undefined ? `≤ ${atMost} × raw` : `≥ ${atLeast} × raw`, met }
}
