import { createHash } from 'node:crypto'
import { imageTag } from '../paths.ts'
import type { VersionLayer } from './manifest.ts'

/** A file in an archive. */
export interface ArchiveFile {
  name: string
  bytes: Buffer
}

export interface ImageDocuments {
  /** Image id on Engines with a graph driver. */
  configDigest: string
  /** Image id on Engines with the containerd image store. */
  manifestDigest: string
  /** What follows the layers in an archive, in order. */
  files: ArchiveFile[]
}

export interface DescribedImage {
  environment: string
  /** The image configuration, byte for byte. */
  config: string
  /** Lowest first. */
  layers: readonly Pick<VersionLayer, 'digest' | 'size'>[]
}

/**
 * Everything in an archive of an image but its layers: OCI image layout (opencontainers/image-spec `image-layout.md`) **and** the
 * `manifest.json` of `docker save`, because each of them is what some Engine reads. The same image always gives the same bytes.
 *
 * @param tag that the image gets where it is loaded
 */
export function imageDocuments({ environment, config, layers }: DescribedImage, tag = imageTag(environment)): ImageDocuments {
  const configBlob = toBlob(Buffer.from(config))
  const manifestBlob = toBlob(json(ociManifest(configBlob, layers)))
  const legacy = [{ Config: blobPath(configBlob.digest), RepoTags: [tag], Layers: layers.map(({ digest }) => blobPath(digest)) }]
  return {
    configDigest: configBlob.digest,
    manifestDigest: manifestBlob.digest,
    files: [
      ...[configBlob, manifestBlob].map(({ digest, bytes }) => ({ name: blobPath(digest), bytes })),
      { name: 'index.json', bytes: json(ociIndex(manifestBlob, tag)) },
      { name: 'oci-layout', bytes: json({ imageLayoutVersion: '1.0.0' }) },
      { name: 'manifest.json', bytes: json(legacy) },
    ],
  }
}

/** The path of a blob in an archive; `sha256:` in front of the digest may be left out. */
export function blobPath(digest: string): string {
  return `blobs/sha256/${digest.replace(/^sha256:/, '')}`
}

// --- internal ---

interface Blob {
  digest: string
  bytes: Buffer
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function toBlob(bytes: Buffer): Blob {
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, bytes }
}

/** OCI image manifest (opencontainers/image-spec `manifest.md`). */
function ociManifest(config: Blob, layers: DescribedImage['layers']): unknown {
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config.digest, size: config.bytes.length },
    layers: layers.map(({ digest, size }) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size })),
  }
}

/** The annotations give the image its name in the containerd image store; `manifest.json` does in the others. */
function ociIndex(manifest: Blob, tag: string): unknown {
  const annotations = { 'io.containerd.image.name': `docker.io/${tag}`, 'org.opencontainers.image.ref.name': tag.split(':')[1] ?? 'latest' }
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: manifest.digest, size: manifest.bytes.length, annotations }],
  }
}
