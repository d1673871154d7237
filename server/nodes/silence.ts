/** Counts how long each node has been silent, in intervals that the Host itself was awake for. */
export interface Silence {
  /** It was heard of just now. */
  heard(hostname: string): void
  forget(hostname: string): void
  close(): void
}

export interface SilenceOptions {
  intervalMs: number
  timeoutMs: number
  /** Of a silence that has become too long, and again after each further time of that length. */
  onSilent(hostname: string): void
}

/**
 * No clock is read: a step of it makes nobody silent. A Host that was frozen or too busy to listen counts one interval for all of that time,
 * so that it hears first what the nodes have sent meanwhile.
 */
export function createSilence({ intervalMs, timeoutMs, onSilent }: SilenceOptions): Silence {
  const silentMs = new Map<string, number>()
  const timer = setInterval(() => {
    for (const [hostname, before] of silentMs) {
      const isTooLong = before + intervalMs > timeoutMs
      silentMs.set(hostname, isTooLong ? 0 : before + intervalMs)
      if (isTooLong) onSilent(hostname)
    }
  }, intervalMs)
  timer.unref()
  return {
    heard: (hostname) => void silentMs.set(hostname, 0),
    forget: (hostname) => void silentMs.delete(hostname),
    close: () => clearInterval(timer),
  }
}
