import type { Readable } from 'node:stream'
import type { TaskOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { labels } from '#core/paths.ts'
import { openLoadable } from '#core/tarballs/loadable.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { createBackoff } from '../backoff.ts'

export interface LoadOptions {
  engine: Engine
  tarballs: TarballStore
  order: TaskOrder
  closing: AbortSignal
  onLoading: () => void
  onTrouble: (message: string | null) => void
}

/** A share that stutters comes back within these; one that does not is a failure to be told. */
const STORAGE_TRIES = 4

/**
 * Loads a version from its tarball, and finds the id that the Engine gave it.
 *
 * @throws `tarball.not_found`, `tarball.damaged`, `storage.unavailable`, `engine.failed`
 */
export async function loadVersion(options: LoadOptions): Promise<string> {
  const { closing, order, onTrouble } = options
  const backoff = createBackoff({ firstMs: 500, maxMs: 10_000 })
  options.onLoading()
  for (let storageFailures = 0; ; ) {
    try {
      const imageId = await loadOnce(options)
      onTrouble(null)
      return imageId
    } catch (error) {
      closing.throwIfAborted()
      if (!isHakuError(error, 'engine.unavailable', 'storage.unavailable')) throw error
      if (error.code === 'storage.unavailable' && ++storageFailures === STORAGE_TRIES) throw error
      onTrouble(`Loading ${order.fileName} has to wait: ${errorMessage(error)}`)
    }
    await backoff.wait(closing)
  }
}

/** The image of the order's version, if the Engine holds it under an id that the order names. */
export async function findByDigest(engine: Engine, { configDigest, manifestDigest }: TaskOrder): Promise<string | undefined> {
  for (const digest of [configDigest, manifestDigest]) {
    const image = digest === null ? undefined : await engine.inspectImage(digest)
    if (image) return image.id
  }
  return undefined
}

// --- internal ---

async function loadOnce({ engine, tarballs, order, closing }: LoadOptions): Promise<string> {
  const started = Date.now()
  const archive = await openTarball(tarballs, order)
  const loaded = await engine.loadImage(archive, { signal: closing }).catch((error: unknown) => {
    if (!isHakuError(error, 'engine.failed', 'engine.invalid', 'storage.full')) throw error
    throw new HakuError(error.code, `${order.fileName} could not be loaded. ${error.message}. If the tarball is damaged, package the environment again.`, { cause: error })
  })
  const imageId = (await findByDigest(engine, order)) ?? (await findAmong(engine, order, loaded))
  if (imageId === undefined) {
    throw new HakuError('tarball.damaged', `${order.fileName} was loaded, and the image it should hold (${order.configDigest ?? 'any'}) is not there: the Engine names ${loaded.join(', ') || 'nothing'}. Package the environment again.`)
  }
  console.error(`[hakuriver] [runner] loaded ${order.fileName} in ${((Date.now() - started) / 1000).toFixed(1)} s`)
  return imageId
}

/** By exact name: a listing on NFS may be seconds old. */
async function openTarball(tarballs: TarballStore, { environment, version, fileName }: TaskOrder): Promise<Readable> {
  const entry = await tarballs.find(environment, version)
  if (!entry) throw new HakuError('tarball.not_found', `${fileName} is not on the shared storage as this node sees it. Was it removed? Package the environment again, and check that Host and node mount the same directory.`)
  const manifest = await tarballs.readManifest(environment, version)
  if (!manifest) return tarballs.read(environment, version)
  return openLoadable({ entry, manifest, layers: manifest.layers, read: ({ offset, size }) => tarballs.read(environment, version, { start: offset, end: offset + size }) })
}

/** For a tarball made by other tools: the image with our labels, or the only one. */
async function findAmong(engine: Engine, order: TaskOrder, references: string[]): Promise<string | undefined> {
  if (order.configDigest !== null) return undefined
  const found = (await Promise.all(references.map((reference) => engine.inspectImage(reference)))).flatMap((image) => image ?? [])
  const labelled = found.find((image) => image.labels[labels.environment] === order.environment && image.labels[labels.version] === String(order.version))
  const ids = new Set(found.map(({ id }) => id))
  return labelled?.id ?? (ids.size === 1 ? [...ids][0] : undefined)
}
