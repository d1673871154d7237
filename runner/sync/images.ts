import type { VersionOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { ImageRecord, RunnerState } from '../state/state.ts'
import { cleanUp, keyOf } from './clean-up.ts'
import type { Inventory } from './inventory.ts'
import { type LoadedVersion, loadVersion } from './load-version.ts'
import { findByDigest } from './loading.ts'
import type { SharedLayers } from './sharing/shared-layers.ts'
import { createSync, type Sync, type SyncListener, type SyncWork, withSignal } from './sync.ts'

/** The environment versions that this node's Engine holds. */
export interface Images {
  /**
   * The id of the image of the order's version, loaded from its tarball if the Engine lacks it. Never pulled. A version is
   * loaded once, however many wait for it, and only as long as somebody does; other versions do not wait.
   *
   * @throws `tarball.not_found`, `tarball.damaged`, `storage.unavailable`, `engine.*`
   */
  ensure(order: VersionOrder, options: EnsureOptions): Promise<string>
  /** A task has used the version until now. */
  touch(order: VersionOrder): void
  /** Asks the Engine whether it still has what we think it has. */
  confirm(order: VersionOrder): Promise<void>
  /** The Engine does not have what we thought it has. */
  forget(order: VersionOrder): Promise<void>
  /** Removes versions that are superseded or too much, where nothing needs them. Never throws. */
  sweep(): Promise<void>
}

export interface EnsureOptions extends SyncListener {
  /** Ends this waiting. */
  signal: AbortSignal
  /** No task is behind it: the image stays until one has used it, even if a newer version is here. */
  forLater?: boolean
}

export interface ImagesOptions {
  engine: Engine
  state: RunnerState
  inventory: Inventory
  tarballs: TarballStore
  neighbours: SharedLayers | undefined
  /** Bytes that the images may take; `undefined`: no limit. */
  limitBytes: number | undefined
  closing: AbortSignal
}

export function createImages({ engine, state, inventory, tarballs, neighbours, limitBytes, closing }: ImagesOptions): Images {
  const syncs = new Map<string, Sync>()
  /** Versions that somebody wants for later. */
  const awaited = new Set<string>()
  let sweeping: Promise<void> = Promise.resolve()

  function findKnown(order: VersionOrder): ImageRecord | undefined {
    return state.listImages().find((image) => keyOf(image) === keyOf(order))
  }

  async function load(order: VersionOrder, work: SyncWork): Promise<string> {
    const present = await findByDigest(engine, order)
    try {
      return await keep(order, present === undefined ? await loadVersion({ engine, inventory, tarballs, neighbours, order, ...work }) : { imageId: present, layers: undefined })
    } catch (error) {
      if (work.signal.aborted && !closing.aborted) await keepLate(order)
      throw error
    }
  }

  async function keep({ environment, version }: VersionOrder, { imageId, layers = [] }: LoadedVersion): Promise<string> {
    const size = layers.length > 0 ? layers.reduce((sum, layer) => sum + layer.size, 0) : ((await engine.inspectImage(imageId))?.size ?? 0)
    const lastUsed = new Date().toISOString()
    await state.saveImage({ environment, version, imageId, lastUsed, size, layers: layers.map(({ digest, size: bytes }) => ({ digest, size: bytes })), isAwaited: awaited.has(keyOf({ environment, version })) })
    return imageId
  }

  /** An Engine that had all of the archive when it was told to stop makes the image all the same: then it is one of ours. */
  async function keepLate(order: VersionOrder): Promise<void> {
    const imageId = await findByDigest(engine, order).catch(() => undefined)
    if (imageId !== undefined) await keep(order, { imageId, layers: undefined })
  }

  function join(order: VersionOrder): Sync {
    const key = keyOf(order)
    const current = syncs.get(key)
    if (current && !current.isAbandoned) return current
    const started = createSync(async (work) => {
      // One that is being given up ends first: the Engine is not to be asked for the same image twice at a time.
      await current?.result.catch(() => undefined)
      work.signal.throwIfAborted()
      return load(order, work)
    }, closing)
    syncs.set(key, started)
    const leave = () => {
      if (syncs.get(key) === started) syncs.delete(key)
      void sweep()
    }
    started.result.then(leave, leave)
    return started
  }

  async function sweepNow(): Promise<void> {
    // A load may lean on layers of an image that would go. When it ends, this comes again.
    if (syncs.size > 0 || closing.aborted) return
    try {
      await cleanUp({ engine, state, limitBytes })
    } catch (error) {
      // The next load or end of a task tries again.
      if (!isHakuError(error, 'engine.unavailable')) console.error(`[hakuriver] [runner] images that nobody needs could not be removed: ${errorMessage(error)}`)
    }
  }

  function sweep(): Promise<void> {
    sweeping = sweeping.then(sweepNow)
    return sweeping
  }

  async function forget(order: VersionOrder): Promise<void> {
    const known = findKnown(order)
    if (known) await state.removeImage(known)
  }

  return {
    async ensure(order, { signal, forLater = false, ...listener }) {
      const isOld = state.listImages().some(({ environment, version }) => environment === order.environment && version > order.version)
      const known = findKnown(order)
      if (known) {
        if (forLater) await state.saveImage({ ...known, lastUsed: new Date().toISOString(), isAwaited: isOld })
        else state.useImage(known)
        return known.imageId
      }
      signal.throwIfAborted()
      if (forLater && isOld) awaited.add(keyOf(order))
      const joined = join(order)
      const leave = joined.join(listener)
      try {
        return await withSignal(joined.result, signal)
      } finally {
        if (forLater) awaited.delete(keyOf(order))
        leave()
      }
    },
    touch(order) {
      const known = findKnown(order)
      if (known) state.useImage(known)
    },
    async confirm(order) {
      const known = findKnown(order)
      if (known && !(await engine.inspectImage(known.imageId))) await forget(order)
    },
    forget,
    sweep,
  }
}
