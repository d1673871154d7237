/** Resolves when `promise` does, after `ms`, or when the client is gone. */
export async function waitFor(promise: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<void> {
  // An abort that has been is not told again.
  if (signal?.aborted) return
  let timer: NodeJS.Timeout | undefined
  let leave: (() => void) | undefined
  const limit = new Promise<void>((resolve) => {
    leave = resolve
    timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', resolve as () => void, { once: true })
  })
  await Promise.race([promise, limit])
  clearTimeout(timer)
  if (leave) signal?.removeEventListener('abort', leave)
}
