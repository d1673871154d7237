export interface SyncListener {
  /** Called if the tarball has to be loaded. */
  onLoading: () => void
  /** What hinders the load for now; `null`: it goes on. */
  onTrouble: (message: string | null) => void
}

/** One load that several tasks wait for. */
export interface Sync {
  result: Promise<string>
  /** @returns a function that ends the listening */
  listen(listener: SyncListener): () => void
}

export function createSync(work: (tell: SyncListener) => Promise<string>): Sync {
  const listeners = new Set<SyncListener>()
  let isLoading = false
  const result = work({
    onLoading() {
      isLoading = true
      for (const { onLoading } of listeners) onLoading()
    },
    onTrouble(message) {
      for (const { onTrouble } of listeners) onTrouble(message)
    },
  })
  return {
    result,
    listen(listener) {
      listeners.add(listener)
      if (isLoading) listener.onLoading()
      return () => listeners.delete(listener)
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
