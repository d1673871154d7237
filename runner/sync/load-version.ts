import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { missingLayers } from '#core/tarballs/chains.ts'
import { openLoadable } from '#core/tarballs/loadable.ts'
import type { VersionLayer, VersionManifest } from '#core/tarballs/manifest.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { createBackoff } from '../backoff.ts'
import { loadForeign } from './load-foreign.ts'
import { failed, findByDigest, type LoadOptions, type LoadSource, tellLoaded } from './loading.ts'
import { openVersion } from './open-version.ts'
import { withPatience } from './patient-store.ts'
import { createProgressMeter } from './progress.ts'

/** A version that the Engine has now. */
export interface LoadedVersion {
  imageId: string
  /** Its layers; `undefined` for a tarball made by other tools. */
  layers: readonly Pick<VersionLayer, 'digest' | 'size'>[] | undefined
}

/**
 * Loads what the Engine lacks of a version from its tarball, and finds the id that the Engine gave it. Waits for an Engine that is away as
 * long as `signal` lets it.
 *
 * @throws `tarball.not_found`, `tarball.damaged`, `storage.unavailable`, `engine.failed`
 */
export async function loadVersion(options: LoadOptions): Promise<LoadedVersion> {
  const { signal, order, onTrouble } = options
  const backoff = createBackoff({ firstMs: 500, maxMs: 10_000 })
  for (;;) {
    try {
      const loaded = await loadOnce(options)
      onTrouble(null)
      return loaded
    } catch (error) {
      signal.throwIfAborted()
      if (!isHakuError(error, 'engine.unavailable')) throw error
      onTrouble(`Loading ${order.fileName} has to wait: ${errorMessage(error)}`)
    }
    await backoff.wait(signal)
  }
}

// --- internal ---

async function loadOnce(options: LoadOptions): Promise<LoadedVersion> {
  const store = withPatience(options.tarballs, options)
  const opened = await openVersion(store, options.order, options)
  const source = { ...options, store, ...opened }
  return opened.manifest ? loadLayers({ ...source, manifest: opened.manifest }) : { imageId: await loadForeign(source), layers: undefined }
}

interface ManifestSource extends LoadSource {
  manifest: VersionManifest
}

/** A partial archive, and a full one if the Engine does not make an image of it. */
async function loadLayers(source: ManifestSource): Promise<LoadedVersion> {
  const { engine, inventory, order, manifest, signal } = source
  const all = missingLayers(manifest.layers, new Set())
  const missing = missingLayers(manifest.layers, await inventory.layers())
  const started = Date.now()
  const found = async (read: readonly VersionLayer[]): Promise<LoadedVersion | undefined> => {
    const imageId = await findByDigest(engine, manifest)
    if (imageId === undefined) return undefined
    tellLoaded(order.fileName, `${formatSize(sizeOf(read))} in ${read.length} of ${manifest.layers.length} layers`, started)
    return { imageId, layers: all }
  }
  if (missing.length < all.length) {
    const refusal = await loadArchive(source, missing).then(() => 'no image came of it', (error: unknown) => refusalOf(error, signal))
    const partial = await found(missing)
    if (partial) return partial
    console.error(`[hakuriver] [runner] ${order.fileName}: the Engine did not take a part of it (${refusal}), so all of it is loaded`)
  }
  await loadArchive(source, all).catch((error: unknown) => failed(order, error))
  const loaded = await found(all)
  if (loaded) return loaded
  throw new HakuError('engine.failed', `${order.fileName} was loaded, and the Docker Engine has no image ${manifest.configDigest}. Is its disk full, or is somebody removing images?`)
}

/** What the Engine says against a part of a version. Anything that the whole would meet too is thrown. */
function refusalOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted || !isHakuError(error, 'engine.failed', 'engine.invalid', 'engine.not_found', 'engine.conflict')) throw error
  return error.message
}

async function loadArchive({ engine, store, neighbours, entry, manifest, order: { environment, version }, signal, onProgress }: ManifestSource, layers: readonly VersionLayer[]): Promise<void> {
  const meter = createProgressMeter(onProgress)
  meter.begin(sizeOf(layers))
  const archive = openLoadable({
    entry, manifest, layers,
    read(layer) {
      const fromStorage = () => store.read(environment, version, { start: layer.offset, end: layer.offset + layer.size })
      return neighbours ? neighbours.read(layer, { signal, fromStorage }) : fromStorage()
    },
    onProgress: meter.advance,
  })
  await engine.loadImage(archive, { signal })
}

function sizeOf(layers: readonly VersionLayer[]): number {
  return layers.reduce((sum, { size }) => sum + size, 0)
}
