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
  /** Once for each silence that has become too long. */
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
      silentMs.set(hostname, before + intervalMs)
      if (before <= timeoutMs && before + intervalMs > timeoutMs) onSilent(hostname)
    }
  }, intervalMs)
  timer.unref()
  return {
    heard: (hostname) => void silentMs.set(hostname, 0),
    forget: (hostname) => void silentMs.delete(hostname),
    close: () => clearInterval(timer),
  }
}
