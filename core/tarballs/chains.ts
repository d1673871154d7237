import { createHash } from 'node:crypto'

/**
 * Chain ids of an image's layers (opencontainers/image-spec `config.md`): each names a layer together with all that lie below it, which
 * is how Engines know the layers that they have.
 *
 * @param diffIds lowest first
 */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = []
  for (const diffId of diffIds) {
    const below = chain.at(-1)
    chain.push(below === undefined ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`)
  }
  return chain
}

/**
 * The layers that are missing where the chains `present` are, lowest first. One that an image has twice is told once.
 *
 * @param present chain ids
 */
export function missingLayers<L extends { digest: string }>(layers: readonly L[], present: ReadonlySet<string>): L[] {
  const chain = chainIds(layers.map(({ digest }) => digest))
  const missing = layers.filter((_, index) => !present.has(chain[index] ?? ''))
  return [...new Map(missing.map((layer) => [layer.digest, layer])).values()]
}
