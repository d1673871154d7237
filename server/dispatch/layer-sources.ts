import { EventEmitter, once } from 'node:events'
import type { LayersBody, LayerSource } from '#core/api/schemas.ts'
import { runnerApi } from '#core/api/runner.ts'
import { buildPath } from '#core/api/match.ts'
import { issueTicket } from '#core/tickets.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import { waitFor } from '../wait-for.ts'

/**
 * Who has which layer, and who gets it from whom, so that the shared storage is read about once for each layer however many nodes want it:
 * the first one reads there, the others wait for it, and then for one another.
 *
 * In memory only. What is forgotten costs one more read of the storage.
 */
export interface LayerSources {
  /** @throws `node.not_found` */
  tell(hostname: string, layers: LayersBody): void
  /**
   * Holds the answer for `waitMs` at most while somebody else is getting the layer.
   *
   * @throws `node.not_found`
   */
  find(hostname: string, digest: string, request: { instanceId: string; avoid: readonly string[] }, options: { waitMs: number; signal: AbortSignal }): Promise<LayerSource>
}

/** A node that gives to more at a time is slower for each than the next one that has it. */
const MAX_TAKERS = 3
/** The clocks of two machines may differ. */
const TICKET_SECONDS = 3600

/** What is known of one node. */
interface Sharer {
  instanceId: string
  held: ReadonlySet<string>
  /** Digest of a layer that it is getting → the node that gives it, or `undefined` for the storage. */
  getting: Map<string, string | undefined>
}

export function createLayerSources(nodes: Pick<Nodes, 'find' | 'assertInstance' | 'events'>): LayerSources {
  const sharers = new Map<string, Sharer>()
  const changes = new EventEmitter<{ change: [] }>()
  changes.setMaxListeners(0)

  nodes.events.on('offline', ({ hostname }) => {
    if (sharers.delete(hostname)) changes.emit('change')
  })

  function sharerOf(hostname: string, instanceId: string): Sharer {
    nodes.assertInstance(hostname, instanceId)
    const known = sharers.get(hostname)
    if (known?.instanceId === instanceId) return known
    const fresh: Sharer = { instanceId, held: new Set(), getting: new Map() }
    sharers.set(hostname, fresh)
    return fresh
  }

  async function nextChange(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController()
    await waitFor(once(changes, 'change', { signal: over.signal }).catch(() => undefined), ms, signal)
    over.abort()
  }

  function takersOf(hostname: string): number {
    return [...sharers.values()].reduce((sum, { getting }) => sum + [...getting.values()].filter((giver) => giver === hostname).length, 0)
  }

  /** The least busy node that has the layer. */
  function giverOf(digest: string, excluded: ReadonlySet<string>): NodeRecord | undefined {
    const holders = [...sharers].filter(([hostname, { held }]) => held.has(digest) && !excluded.has(hostname) && nodes.find(hostname)?.online)
    const free = holders.map(([hostname]) => ({ hostname, takers: takersOf(hostname) })).filter(({ takers }) => takers < MAX_TAKERS)
    const [first] = free.toSorted((left, right) => left.takers - right.takers)
    return first && nodes.find(first.hostname)
  }

  function isComing(digest: string, hostname: string): boolean {
    return [...sharers].some(([other, { getting }]) => other !== hostname && getting.has(digest))
  }

  function choose(hostname: string, digest: string, { instanceId, avoid }: { instanceId: string; avoid: readonly string[] }): LayerSource {
    const { getting } = sharerOf(hostname, instanceId)
    const giver = giverOf(digest, new Set([hostname, ...avoid]))
    if (giver) {
      getting.set(digest, giver.hostname)
      const path = buildPath(runnerApi.getLayer.path, { digest })
      return { from: 'node', hostname: giver.hostname, url: giver.url, ticket: issueTicket(giver.hostToken, path, TICKET_SECONDS) }
    }
    if (isComing(digest, hostname)) return { from: 'wait' }
    getting.set(digest, undefined)
    return { from: 'storage' }
  }

  return {
    tell(hostname, { instanceId, held, wanted }) {
      const sharer = sharerOf(hostname, instanceId)
      sharer.held = new Set(held)
      const still = new Set(wanted)
      for (const digest of sharer.getting.keys()) if (!still.has(digest)) sharer.getting.delete(digest)
      changes.emit('change')
    },
    async find(hostname, digest, request, { waitMs, signal }) {
      // The clock may be set meanwhile.
      const deadline = performance.now() + waitMs
      for (;;) {
        const source = choose(hostname, digest, request)
        const left = deadline - performance.now()
        if (source.from !== 'wait' || left <= 0 || signal.aborted) return source
        await nextChange(left, signal)
      }
    },
  }
}
