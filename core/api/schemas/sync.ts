import { z } from 'zod'
import { bytes } from './common.ts'

/** A version by everything that a node needs to load exactly it. */
export const versionOrder = z.strictObject({
  environment: z.string(),
  version: z.int(),
  fileName: z.string(),
  /** Image ids by which the version is known; `null` for a tarball made by other tools. */
  configDigest: z.string().nullable(),
  manifestDigest: z.string().nullable(),
})
export type VersionOrder = z.infer<typeof versionOrder>

/** How far the load of a version is. */
export const syncProgress = z.strictObject({
  bytes,
  /** Only what the node lacks. */
  totalBytes: bytes,
  /** `null` at the beginning. */
  bytesPerSecond: bytes.nullable(),
})
export type SyncProgress = z.infer<typeof syncProgress>

export const prefetchState = z.strictObject({ state: z.enum(['loading', 'ready']), sync: syncProgress.nullable(), message: z.string().nullable() })
export type PrefetchState = z.infer<typeof prefetchState>

// --- layers that nodes give to one another ---

export const layerDigest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'not a digest')

/** The whole picture each time, so that it may be lost or doubled. */
export const layersBody = z.strictObject({
  instanceId: z.string().min(1).max(64),
  /** Layers that this node gives to others. */
  held: z.array(layerDigest).max(20_000),
  /** Layers that it is getting. */
  wanted: z.array(layerDigest).max(1000),
})
export type LayersBody = z.infer<typeof layersBody>

export const layerSourceBody = z.strictObject({
  instanceId: z.string().min(1).max(64),
  /** Nodes that were tried in vain. */
  avoid: z.array(z.string()).max(1000).default([]),
})

/** From where a node should get a layer. `wait`: another node is getting it right now; ask again. */
export const layerSource = z.discriminatedUnion('from', [
  z.object({ from: z.literal('storage') }),
  z.object({ from: z.literal('wait') }),
  z.object({ from: z.literal('node'), hostname: z.string(), url: z.string(), ticket: z.string() }),
])
export type LayerSource = z.infer<typeof layerSource>
