import { setTimeout } from 'node:timers/promises'
import type { HostApi } from '#core/api/host.ts'
import type { Client } from '#core/client/client.ts'
import { percentile } from '../percentile.ts'
import type { Random } from '../random.ts'

/** How long answers took, in ms. */
export interface Latency {
  calls: number
  p50: number
  p99: number
  max: number
}

export interface Latencies {
  /** A page of 100 tasks, newest first. */
  list: Latency
  /** One of them, with its events. */
  get: Latency
}

/** Between two calls: a few people who look, no load. */
const PAUSE_MS = 20

/** Calls the Host now and then until it is told to stop. */
export function startProbe(client: Client<HostApi>, random: Random): { stop(): Promise<Latencies> } {
  const stopping = new AbortController()
  const times = { list: [] as number[], get: [] as number[] }

  async function look(): Promise<void> {
    const started = performance.now()
    const { items } = await client.call('listTasks', { query: { limit: 100 } })
    times.list.push(performance.now() - started)
    if (items.length === 0) return
    const task = random.pick(items)
    const asked = performance.now()
    await client.call('getTask', { params: { id: task.id } })
    times.get.push(performance.now() - asked)
  }

  async function lookOn(): Promise<void> {
    while (!stopping.signal.aborted) {
      await look()
      await setTimeout(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  const looking = lookOn()
  // Told by stop().
  looking.catch(() => undefined)
  return {
    async stop() {
      stopping.abort()
      await looking
      return { list: toLatency(times.list), get: toLatency(times.get) }
    },
  }
}

// --- internal ---

function toLatency(times: readonly number[]): Latency {
  return { calls: times.length, p50: percentile(times, 50), p99: percentile(times, 99), max: percentile(times, 100) }
}
