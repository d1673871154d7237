import type { TaskOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { RunnerState } from '../state/state.ts'
import type { ImageRow } from '../state/tables.ts'
import { findByDigest, loadVersion } from './load-version.ts'
import { removeSuperseded } from './superseded.ts'
import { createSync, type Sync, type SyncListener, withSignal } from './sync.ts'

/** The environment versions that this node's Engine holds. */
export interface Images {
  /**
   * The id of the image of the order's version, loaded from its tarball if the Engine lacks it. Never pulled. A version is
   * loaded once, however many tasks wait for it; other versions do not wait.
   *
   * @throws `tarball.not_found`, `tarball.damaged`, `storage.unavailable`, `engine.*`
   */
  ensure(order: TaskOrder, options: EnsureOptions): Promise<string>
  /** The Engine does not have what we thought it has. */
  forget(order: TaskOrder): Promise<void>
  /** Removes older versions of environments that have a newer one here, where nothing needs them. Never throws. */
  sweep(): Promise<void>
}

export interface EnsureOptions extends SyncListener {
  /** Ends this waiting; the load goes on for the others. */
  signal: AbortSignal
}

export interface ImagesOptions {
  engine: Engine
  state: RunnerState
  tarballs: TarballStore
  closing: AbortSignal
}

export function createImages({ engine, state, tarballs, closing }: ImagesOptions): Images {
  const syncs = new Map<string, Sync>()
  let sweeping: Promise<void> = Promise.resolve()

  function findKnown({ environment, version }: TaskOrder): ImageRow | undefined {
    return state.listImages().find((image) => image.environment === environment && image.version === version)
  }

  async function load(order: TaskOrder, { onLoading, onTrouble }: SyncListener): Promise<string> {
    const present = await findByDigest(engine, order)
    const imageId = present ?? (await loadVersion({ engine, tarballs, order, closing, onLoading, onTrouble }))
    await state.saveImage({ environment: order.environment, version: order.version, image_id: imageId })
    return imageId
  }

  function join(order: TaskOrder): Sync {
    const key = `${order.environment}-${order.version}`
    const known = syncs.get(key)
    if (known) return known
    const started = createSync((listener) => load(order, listener))
    syncs.set(key, started)
    const leave = () => void syncs.delete(key)
    started.result.then(leave, leave)
    started.result.then(() => sweep(), () => undefined)
    return started
  }

  function sweep(): Promise<void> {
    sweeping = sweeping.then(() => removeSuperseded(engine, state)).catch((error: unknown) => {
      // The next load or end of a task tries again.
      if (!closing.aborted && !isHakuError(error, 'engine.unavailable')) console.error(`[hakuriver] [runner] superseded images could not be removed: ${errorMessage(error)}`)
    })
    return sweeping
  }

  return {
    async ensure(order, { signal, ...listener }) {
      const known = findKnown(order)
      if (known) return known.image_id
      const joined = join(order)
      const leave = joined.listen(listener)
      try {
        return await withSignal(joined.result, signal)
      } finally {
        leave()
      }
    },
    async forget(order) {
      const known = findKnown(order)
      if (known) await state.removeImage(known)
    },
    sweep,
  }
}
