import type { SyncProgress } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'

export interface SyncListener {
  /** Called if the tarball has to be loaded, and again and again until it is. */
  onProgress: (progress: SyncProgress) => void
  /** What hinders the load for now; `null`: it goes on. */
  onTrouble: (message: string | null) => void
}

export interface SyncWork extends SyncListener {
  /** Fires when nobody waits any more. */
  signal: AbortSignal
}

/** One load that several wait for. It lives as long as somebody does. */
export interface Sync {
  result: Promise<string>
  /** Nobody waits any more: it is being given up, and joining it is of no use. */
  readonly isAbandoned: boolean
  /** @returns a function that ends the waiting; when the last one ends, the load does */
  join(listener: SyncListener): () => void
}

/** @param closing ends the load too */
export function createSync(work: (work: SyncWork) => Promise<string>, closing: AbortSignal): Sync {
  const listeners = new Set<SyncListener>()
  const abandoning = new AbortController()
  let progress: SyncProgress | undefined
  const result = work({
    signal: AbortSignal.any([closing, abandoning.signal]),
    onProgress(now) {
      progress = now
      for (const { onProgress } of listeners) onProgress(now)
    },
    onTrouble(message) {
      for (const { onTrouble } of listeners) onTrouble(message)
    },
  })
  // Whoever has left does not hear of its end.
  result.catch(() => undefined)
  return {
    result,
    get isAbandoned() {
      return abandoning.signal.aborted
    },
    join(listener) {
      listeners.add(listener)
      if (progress) listener.onProgress(progress)
      return () => {
        listeners.delete(listener)
        if (listeners.size === 0) abandoning.abort(new HakuError('operation.cancelled', 'Nobody waits for the load any more.'))
      }
    },
  }
}

/** `promise`, or the reason of `signal`, whichever comes first. */
export async function withSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const waiting = new AbortController()
  try {
    return await new Promise<T>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true, signal: waiting.signal })
      promise.then(resolve, reject)
    })
  } finally {
    waiting.abort()
  }
}
