import { setTimeout } from 'node:timers/promises'
import type { NodeHoldings } from '#core/api/schemas.ts'
import type { Inventory } from './inventory.ts'

/** A stuck Engine must not hold up the heartbeat. */
const PATIENCE_MS = 3000

/** @returns a function that tells what the Engine holds; `undefined` while it does not answer, which the probe of the Engine itself logs */
export function createHoldingsProbe(inventory: Pick<Inventory, 'holdings'>): () => Promise<NodeHoldings | undefined> {
  let asking: Promise<NodeHoldings | undefined> | undefined
  return () => {
    asking ??= inventory.holdings().catch(() => undefined).finally(() => (asking = undefined))
    return Promise.race([asking, setTimeout(PATIENCE_MS, undefined, { ref: false })])
  }
}
