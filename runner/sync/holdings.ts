import { setTimeout } from 'node:timers/promises'
import type { NodeHoldings } from '#core/api/schemas.ts'
import type { RunnerState } from '../state/state.ts'
import type { Inventory } from './inventory.ts'

export interface HoldingsOptions {
  inventory: Pick<Inventory, 'holdings'>
  state: Pick<RunnerState, 'listImages'>
}

/** A stuck Engine must not hold up the heartbeat. */
const PATIENCE_MS = 3000
/** Images that others bring or remove are seen so late: an Engine with thousands is not to be asked at each beat. */
const REFRESH_MS = 30_000

/** @returns a function that tells what the Engine holds; `undefined` while it does not answer, which the probe of the Engine itself logs */
export function createHoldingsProbe({ inventory, state }: HoldingsOptions): () => Promise<NodeHoldings | undefined> {
  let asking: Promise<NodeHoldings | undefined> | undefined
  let last: { time: number; images: string; holdings: NodeHoldings } | undefined

  async function ask(): Promise<NodeHoldings | undefined> {
    const images = state.listImages().map(({ imageId }) => imageId).join()
    if (last?.images === images && Date.now() - last.time < REFRESH_MS) return last.holdings
    const holdings = await inventory.holdings().catch(() => undefined)
    last = holdings && { time: Date.now(), images, holdings }
    return holdings
  }

  return () => {
    asking ??= ask().finally(() => (asking = undefined))
    return Promise.race([asking, setTimeout(PATIENCE_MS, undefined, { ref: false })])
  }
}
