import { Readable } from 'node:stream'
import type { HostApi } from '#core/api/host.ts'
import { runnerApi } from '#core/api/runner.ts'
import type { LayerSource } from '#core/api/schemas.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { errorMessage, HakuError } from '#core/errors.ts'
import type { VersionLayer } from '#core/tarballs/manifest.ts'
import type { CachedLayer, LayerCache } from './layer-cache.ts'

/** Layers from other nodes, and for them. The shared storage is the source of last resort, and always there. */
export interface SharedLayers {
  /** A layer from the nearest place that has it. `fromStorage` opens it where it would come from without neighbours. */
  read(layer: VersionLayer, options: { signal: AbortSignal; fromStorage: () => Promise<Readable> }): Promise<Readable>
  /** For a neighbour. @throws `layer.not_found` */
  open(digest: string): Promise<Readable>
  /** Tells the Host what is here. Never throws. */
  tell(): Promise<void>
}

export interface SharedLayersOptions {
  cache: LayerCache
  self: { hostname: string; instanceId: string }
  /** `undefined` while this Runner is not registered. */
  host(): Client<HostApi> | undefined
}

const ASK_SECONDS = 20
const CALL_TIMEOUT_MS = 30_000
/** A layer that another node has not got by then is read from the storage, whatever that node does. */
const PATIENCE_MS = 10 * 60_000

export function createSharedLayers({ cache, self, host }: SharedLayersOptions): SharedLayers {
  const { hostname, instanceId } = self
  /** How many get a layer now. */
  const wanted = new Map<string, number>()

  async function tell(): Promise<void> {
    try {
      await host()?.call('tellLayers', { params: { hostname }, body: { instanceId, held: cache.list(), wanted: [...wanted.keys()] }, timeoutMs: CALL_TIMEOUT_MS })
    } catch {
      // The link tells that the Host is away. What it was not told it hears with the next change, or after the next registration.
    }
  }

  /** @returns what ends it, once */
  function want(digest: string): () => Promise<void> {
    wanted.set(digest, (wanted.get(digest) ?? 0) + 1)
    let isReleased = false
    return async () => {
      if (isReleased) return
      isReleased = true
      const left = (wanted.get(digest) ?? 1) - 1
      if (left > 0) wanted.set(digest, left)
      else wanted.delete(digest)
      await tell()
    }
  }

  async function ask(digest: string, avoid: readonly string[], signal: AbortSignal): Promise<LayerSource> {
    try {
      const source = await host()?.call('findLayerSource', { params: { hostname, digest }, query: { wait: ASK_SECONDS }, body: { instanceId, avoid: [...avoid] }, signal, timeoutMs: CALL_TIMEOUT_MS })
      return source ?? { from: 'storage' }
    } catch {
      signal.throwIfAborted()
      // Without the Host there is still the storage.
      return { from: 'storage' }
    }
  }

  /** Whether the layer is in the cache now. */
  async function fetchFromNeighbours(layer: VersionLayer, signal: AbortSignal): Promise<boolean> {
    const deadline = Date.now() + PATIENCE_MS
    const avoid: string[] = []
    while (Date.now() < deadline) {
      const source = await ask(layer.digest, avoid, signal)
      if (source.from === 'storage') return false
      if (source.from === 'wait') continue
      try {
        await fetchFrom(source, layer, signal)
        console.error(`[hakuriver] [runner] layer ${layer.digest} came from ${source.hostname}`)
        return true
      } catch (error) {
        signal.throwIfAborted()
        console.error(`[hakuriver] [runner] ${source.hostname} could not give layer ${layer.digest}: ${errorMessage(error)}`)
        avoid.push(source.hostname)
      }
    }
    return false
  }

  async function fetchFrom({ url, ticket }: LayerSource & { from: 'node' }, { digest, size }: VersionLayer, signal: AbortSignal): Promise<void> {
    const client = createClient({ api: runnerApi, url, token: ticket, unreachable: 'node.unreachable' })
    const file = await cache.create(digest)
    try {
      const source = await client.stream('getLayer', { params: { digest }, signal })
      let length = 0
      for await (const chunk of source as AsyncIterable<Buffer>) {
        signal.throwIfAborted()
        length += chunk.length
        if (length > size) break
        await file.write(chunk)
      }
      if (!(await file.complete())) throw new HakuError('layer.not_found', `what came has not its digest (${length} of ${size} bytes)`)
    } finally {
      await file.abort()
      client.close()
    }
  }

  return {
    tell,
    async read(layer, { signal, fromStorage }) {
      const release = want(layer.digest)
      try {
        const found = await cache.open(layer.digest)
        if (found || (await fetchFromNeighbours(layer, signal))) {
          const cached = found ?? (await cache.open(layer.digest))
          await release()
          if (cached) return cached
        }
        return Readable.from(keepWhileReading(await fromStorage(), await createOrNot(cache, layer.digest), release), { objectMode: false, highWaterMark: 512 * 1024 })
      } catch (error) {
        await release()
        throw error
      }
    },
    async open(digest) {
      const found = await cache.open(digest)
      if (!found) throw new HakuError('layer.not_found', `This node does not have layer ${digest} (any more). Get it from the shared storage.`)
      return found
    },
  }
}

// --- internal ---

/** A cache that can not be written to does not keep anything from being loaded. */
async function createOrNot(cache: LayerCache, digest: string): Promise<CachedLayer | undefined> {
  return cache.create(digest).catch((error: unknown) => {
    console.error(`[hakuriver] [runner] layer ${digest} can not be kept for other nodes: ${errorMessage(error)}`)
    return undefined
  })
}

async function* keepWhileReading(source: Readable, file: CachedLayer | undefined, release: () => Promise<void>): AsyncGenerator<Buffer> {
  let kept = file
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      await kept?.write(chunk).catch(async (error: unknown) => {
        console.error(`[hakuriver] [runner] a layer can not be kept for other nodes: ${errorMessage(error)}`)
        await kept?.abort()
        kept = undefined
      })
      yield chunk
    }
    await kept?.complete()
  } finally {
    source.destroy()
    await kept?.abort()
    await release()
  }
}
