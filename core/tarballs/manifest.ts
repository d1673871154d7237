import { z } from 'zod'
import { MAX_VERSION } from '../names.ts'

/** Engines with a graph driver refuse to make a container of an image with more ("max depth exceeded"). */
export const MAX_IMAGE_LAYERS = 125

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
  formatVersion: z.literal(2),
  environment: z.string(),
  version: z.int().nonnegative().max(MAX_VERSION),
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
  /** Bytes that no version before had: its own layers. */
  newBytes: z.int().nonnegative(),
  architecture: z.string(),
  os: z.string(),
  /** The image configuration, byte for byte; `configDigest` is its digest. Here too, so that a node reads nothing but layers from the tarball. */
  config: z.string().max(1024 * 1024),
  /** Lowest first. */
  layers: z.array(layerSchema),
  /** How many of the layers, from the lowest, are the base image's. */
  baseLayers: z.int().nonnegative(),
  /** The version that a rollback made current again. */
  restores: z.int().nonnegative().optional(),
})
export type VersionManifest = z.infer<typeof versionManifestSchema>
