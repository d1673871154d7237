import type { NodeHoldings } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { chainIds } from '#core/tarballs/chains.ts'
import type { RunnerState } from '../state/state.ts'

/** What this node's Engine has of any image: environments, base images, images of the user's own. */
export interface Inventory {
  /** Chain ids of the layers that a load may leave out. Asks the Engine. @throws `engine.unavailable` */
  layers(): Promise<ReadonlySet<string>>
  /** The same for the Host, with the versions that are here. @throws `engine.unavailable` */
  holdings(): Promise<NodeHoldings>
}

export interface InventoryOptions {
  engine: Pick<Engine, 'info' | 'listImages' | 'inspectImage'>
  state: Pick<RunnerState, 'listImages'>
}

/** The contract takes no more; what is left out is only read again. */
const MAX_LAYERS = 20_000
const SHA256_RE = /^sha256:[0-9a-f]{64}$/

/**
 * Graph drivers know a layer by its chain, whatever image it came with. The containerd image store keeps images as the blobs that they came
 * in: those of other tools are compressed, which makes other digests of the same layers. There only what we loaded counts; an archive
 * that leaves out more is taken without a word, and the image has no layers then.
 */
export function createInventory({ engine, state }: InventoryOptions): Inventory {
  /** An image never changes. */
  const chains = new Map<string, readonly string[]>()

  async function chainOf(id: string): Promise<readonly string[]> {
    const known = chains.get(id)
    if (known) return known
    const chain = chainIds((await engine.inspectImage(id))?.layers ?? [])
    if (chain.length > 0) chains.set(id, chain)
    return chain
  }

  async function look(): Promise<{ ids: ReadonlySet<string>; layers: ReadonlySet<string> }> {
    // An Engine may be set up anew while we run.
    const { usesContainerdStore } = await engine.info()
    const ids = new Set((await engine.listImages()).map(({ id }) => id))
    for (const id of chains.keys()) if (!ids.has(id)) chains.delete(id)
    const loaded = new Set(state.listImages().map(({ imageId }) => imageId))
    const layers = new Set<string>()
    for (const id of ids) {
      if (usesContainerdStore && !loaded.has(id)) continue
      for (const chainId of await chainOf(id)) layers.add(chainId)
    }
    return { ids, layers }
  }

  return {
    layers: async () => (await look()).layers,
    async holdings() {
      const { ids, layers } = await look()
      const images = state.listImages().filter(({ imageId }) => ids.has(imageId)).map(({ environment, version }) => ({ environment, version }))
      return { images, layers: [...layers].filter((chainId) => SHA256_RE.test(chainId)).slice(0, MAX_LAYERS) }
    },
  }
}
