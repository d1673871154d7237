import type { PrefetchState, SyncProgress, VersionOrder } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { keyOf } from './clean-up.ts'
import type { Images } from './images.ts'

/** Loads of versions that no task waits for yet, because the Host asked for them. */
export interface Prefetches {
  /**
   * Loads the version, and tells after `waitMs` at most how far it is. Safe to repeat: it goes on with the same load. A load that nobody
   * asks for any more is given up after some time.
   *
   * @throws as `Images.ensure`
   */
  request(order: VersionOrder, options: { waitMs: number; signal: AbortSignal }): Promise<PrefetchState>
  /** Gives the load up, unless a task waits for it too. Idempotent. */
  cancel(version: Pick<VersionOrder, 'environment' | 'version'>): void
}

interface Prefetch {
  controller: AbortController
  result: Promise<string>
  progress: SyncProgress | null
  message: string | null
  /** Gives up. */
  lease: NodeJS.Timeout | undefined
}

/** Longer than a Host's restart. */
const LEASE_MS = 60_000

export function createPrefetches(images: Images, closing: AbortSignal): Prefetches {
  const running = new Map<string, Prefetch>()

  async function start(order: VersionOrder): Promise<Prefetch> {
    const key = keyOf(order)
    await images.confirm(order)
    const known = running.get(key)
    if (known) return known
    const controller = new AbortController()
    const prefetch: Prefetch = { controller, result: Promise.resolve(''), progress: null, message: null, lease: undefined }
    prefetch.result = images.ensure(order, {
      signal: AbortSignal.any([controller.signal, closing]),
      forLater: true,
      onProgress: (progress) => (prefetch.progress = progress),
      onTrouble: (message) => (prefetch.message = message),
    })
    // Who asks the next time hears of its failure.
    prefetch.result.catch(() => undefined)
    running.set(key, prefetch)
    return prefetch
  }

  function end(key: string, prefetch: Prefetch): void {
    clearTimeout(prefetch.lease)
    if (running.get(key) === prefetch) running.delete(key)
  }

  function cancel(version: Pick<VersionOrder, 'environment' | 'version'>): void {
    const prefetch = running.get(keyOf(version))
    if (!prefetch) return
    end(keyOf(version), prefetch)
    prefetch.controller.abort(new HakuError('operation.cancelled', 'The Host does not want this version here any more.'))
  }

  return {
    async request(order, { waitMs, signal }) {
      const key = keyOf(order)
      const prefetch = running.get(key) ?? (await start(order))
      clearTimeout(prefetch.lease)
      prefetch.lease = setTimeout(cancel, LEASE_MS + waitMs, order).unref()
      try {
        const isReady = await Promise.race([prefetch.result.then(() => true), pause(waitMs, signal)])
        if (isReady) end(key, prefetch)
        return { state: isReady ? 'ready' : 'loading', sync: prefetch.progress, message: prefetch.message }
      } catch (error) {
        end(key, prefetch)
        throw error
      }
    },
    cancel,
  }
}

// --- internal ---

/** Resolves to `false`, when the time is over or the client is gone. */
function pause(ms: number, signal: AbortSignal): Promise<false> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, false).unref()
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve(false)
    }, { once: true })
  })
}
