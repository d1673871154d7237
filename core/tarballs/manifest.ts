import { z } from 'zod'

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)

/** A layer inside a tarball. `offset` and `size` are bytes of its plain tar, so that a range read fetches just it. */
export const layerSchema = z.strictObject({
  /** Digest of the uncompressed layer. Always equal to `digest`: layers are stored uncompressed, which serves every Engine. */
  diffId: digest,
  digest,
  offset: z.int().nonnegative(),
  size: z.int().nonnegative(),
})
export type VersionLayer = z.infer<typeof layerSchema>

/** What stands beside each tarball as `<environment>-<seconds>.json`. Units: bytes, Unix seconds, ISO 8601 UTC. */
export const versionManifestSchema = z.strictObject({
  formatVersion: z.literal(1),
  environment: z.string(),
  version: z.int().nonnegative(),
  baseImage: z.string(),
  created: z.iso.datetime(),
  author: z.string(),
  note: z.string(),
  /** Image id on Engines with a graph driver. */
  configDigest: digest,
  /** Image id on Engines with the containerd image store. */
  manifestDigest: digest,
  /** Whole tarball. */
  size: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  architecture: z.string(),
  os: z.string(),
  layers: z.array(layerSchema),
})
export type VersionManifest = z.infer<typeof versionManifestSchema>
