import { type EventEmitter, once } from 'node:events'
import type { Operation } from '#core/api/schemas.ts'
import { waitFor } from '../wait-for.ts'

/** An operation that goes on. */
export interface Followed {
  /** As it is now. */
  operation: Operation
  /** `change`: it is another one. */
  events: EventEmitter
  done: Promise<void>
}

const KEEP_ALIVE_MS = 15_000
/** Followers hear of bytes this often at most. */
const EVENT_INTERVAL_MS = 100

/** Server-sent events, one for each change, the last one with the end. */
export async function* followOperation(entry: Followed, signal: AbortSignal): AsyncGenerator<string> {
  let sent: Operation | undefined
  while (!signal.aborted) {
    if (entry.operation === sent) {
      await nextChange(entry.events, signal)
      if (entry.operation === sent) yield ': waiting\n\n'
      continue
    }
    sent = entry.operation
    yield toEvent(sent)
    if (sent.state !== 'running') return
    await waitFor(entry.done, EVENT_INTERVAL_MS, signal)
  }
}

/** One server-sent event. */
export function toEvent(operation: Operation | undefined): string {
  return `data: ${JSON.stringify(operation)}\n\n`
}

// --- internal ---

async function nextChange(events: EventEmitter, signal: AbortSignal): Promise<void> {
  const listening = new AbortController()
  const change = once(events, 'change', { signal: listening.signal }).catch(() => undefined)
  await waitFor(change, KEEP_ALIVE_MS, signal)
  listening.abort()
}
