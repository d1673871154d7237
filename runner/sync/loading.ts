import type { VersionOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import type { TarballEntry, TarballStore } from '#core/tarballs/store.ts'
import type { Inventory } from './inventory.ts'
import type { SharedLayers } from './sharing/shared-layers.ts'
import type { ReadableStore } from './patient-store.ts'
import type { SyncWork } from './sync.ts'

/** What loading leans on, whoever made the tarball. */
export interface LoadOptions extends SyncWork {
  engine: Engine
  inventory: Inventory
  tarballs: TarballStore
  /** Other nodes that may have layers; `undefined`: only the storage is asked. */
  neighbours: SharedLayers | undefined
  order: VersionOrder
}

/** Where a version is read from. */
export interface LoadSource extends LoadOptions {
  store: ReadableStore
  entry: TarballEntry
}

/** The image of the order's version, if the Engine holds it under an id that the order names. */
export async function findByDigest(engine: Engine, { configDigest, manifestDigest }: Pick<VersionOrder, 'configDigest' | 'manifestDigest'>): Promise<string | undefined> {
  for (const digest of [configDigest, manifestDigest]) {
    const image = digest === null ? undefined : await engine.inspectImage(digest)
    // The containerd image store shows one whose layers are not all there as one without any.
    if (image && image.layers.length > 0) return image.id
  }
  return undefined
}

/** A line for whoever looks after the node. */
export function tellLoaded(fileName: string, what: string, started: number): void {
  console.error(`[hakuriver] [runner] loaded ${fileName} in ${((Date.now() - started) / 1000).toFixed(1)} s: ${what}`)
}

/** Names the tarball in what the Engine says. */
export function failed({ fileName }: VersionOrder, error: unknown): never {
  if (!isHakuError(error, 'engine.failed', 'engine.invalid', 'storage.full')) throw error
  throw new HakuError(error.code, `${fileName} could not be loaded. ${error.message}. If the tarball is damaged, package the environment again.`, { cause: error })
}
