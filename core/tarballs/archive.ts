import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import { z } from 'zod'
import { errorMessage, HakuError } from '../errors.ts'
import { rewriteConfig, type ImageIdentity } from './image-config.ts'
import type { VersionLayer, VersionManifest } from './manifest.ts'
import type { TarballWriter } from './store.ts'
import { BLOCK_BYTES, encodeHeader, padding } from './tar-header.ts'

export interface WriteArchiveOptions {
  /** What an Engine's `save` of one image gives. Any of the three layouts that Engines write. */
  source: Readable
  writer: TarballWriter
  image: ImageIdentity
  signal?: AbortSignal
  /** Bytes written so far. */
  onProgress?: (bytes: number) => void
}

/** What the archive's manifest needs to know of it. */
export type WrittenArchive = Pick<VersionManifest, 'configDigest' | 'manifestDigest' | 'size' | 'sha256' | 'layers'>

/**
 * Turns an Engine's archive into ours while it streams by: OCI image layout and `manifest.json`, layers uncompressed, so
 * that the same layer has the same digest in every version, whichever Engine packaged it, and every Engine loads it, whole
 * or in part.
 *
 * A layer's digest is only known once it went by, so its header is written last (see {@link TarballWriter.patch}), and the
 * digest of the whole file is taken from what the storage gives back, which also proves that it was written.
 *
 * @throws `tarball.damaged` if what the Engine sent is not one whole image
 */
export async function writeArchive({ source, writer, image, signal, onProgress }: WriteArchiveOptions): Promise<WrittenArchive> {
  const saved = await copyLayers({ source, writer, signal, onProgress })
  const config = rewriteConfig(saved.config, image)
  const layers = config.rootfs.diff_ids.map((diffId) => {
    const layer = saved.layers.get(diffId)
    if (!layer) throw new HakuError('tarball.damaged', `The Docker Engine sent the image of ${image.environment} without its layer ${diffId}. Try again; if it stays so, the Engine's storage is damaged.`)
    return layer
  })
  const configBlob = toBlob(config)
  const manifestBlob = toBlob(ociManifest(configBlob, layers))
  for (const blob of [configBlob, manifestBlob]) await writeEntry(writer, blobPath(blob.digest), blob.bytes)
  await writeEntry(writer, 'index.json', json(ociIndex(manifestBlob, image)))
  await writeEntry(writer, 'oci-layout', json({ imageLayoutVersion: '1.0.0' }))
  await writeEntry(writer, 'manifest.json', json([{ Config: blobPath(configBlob.digest), RepoTags: [image.repoTag], Layers: layers.map(({ digest }) => blobPath(digest)) }]))
  await writer.write(Buffer.alloc(2 * BLOCK_BYTES))
  await writer.finish()
  const sha256 = await digestOf(writer.readBack(), writer.position, signal)
  return { configDigest: configBlob.digest, manifestDigest: manifestBlob.digest, size: writer.position, sha256, layers }
}

// --- internal ---

/** Larger JSON documents do not occur; larger blobs are layers. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b])
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
const LAYER_NAME_RE = /^(?:[0-9a-f]{64}\/layer\.tar|blobs\/sha256\/[0-9a-f]{64})$/
const DOCUMENT_NAME_RE = /^(?:[0-9a-f]{64}\.json|manifest\.json)$/
/** The name of a layer until its digest is known: of the same length. */
const PLACEHOLDER = '0'.repeat(64)

const savedManifest = z.array(z.object({ Config: z.string() })).length(1)

interface CopyOptions {
  source: Readable
  writer: TarballWriter
  signal: AbortSignal | undefined
  onProgress: ((bytes: number) => void) | undefined
}

interface SavedImage {
  config: unknown
  /** By diff id. */
  layers: Map<string, VersionLayer>
}

async function copyLayers({ source, writer, signal, onProgress }: CopyOptions): Promise<SavedImage> {
  const layers = new Map<string, VersionLayer>()
  const documents = new Map<string, Buffer>()
  await forEachEntry(source, signal, async (name, size, body) => {
    const isLayer = LAYER_NAME_RE.test(name)
    if (!isLayer && !DOCUMENT_NAME_RE.test(name)) return
    const chunks = body[Symbol.asyncIterator]()
    const first = await chunks.next()
    const head = first.done ? Buffer.alloc(0) : first.value
    if (!isLayer || (head[0] === 0x7b && size <= MAX_DOCUMENT_BYTES)) {
      documents.set(name, await collect(head, chunks, name))
      return
    }
    const layer = await copyLayer(writer, plainTar(head, chunks), onProgress)
    layers.set(layer.diffId, layer)
  })
  return { config: findConfig(documents), layers }
}

/** Runs through the regular files of a tar stream. What follows the archive's end is read too: else the Engine would wait. */
async function forEachEntry(source: Readable, signal: AbortSignal | undefined, visit: (name: string, size: number, body: AsyncIterable<Buffer>) => Promise<void>): Promise<void> {
  const entries = extract()
  const fed = pipeline(source, entries, signal ? { signal } : {})
  // It fails together with the loop below, which tells; alone it must not count as unhandled.
  fed.catch(() => undefined)
  try {
    for await (const entry of entries) {
      const { name, type, size } = entry.header
      if (type === 'file' && name !== undefined) await visit(name.replace(/^\.\//, ''), size ?? 0, entry as AsyncIterable<Buffer>)
      entry.resume()
    }
    await fed
  } catch (error) {
    source.destroy()
    signal?.throwIfAborted()
    throw source.errored ?? error
  }
}

async function copyLayer(writer: TarballWriter, content: AsyncIterable<Buffer>, onProgress: CopyOptions['onProgress']): Promise<VersionLayer> {
  const headerPosition = writer.position
  await writer.write(encodeHeader(`blobs/sha256/${PLACEHOLDER}`, 0))
  const offset = writer.position
  const hash = createHash('sha256')
  for await (const chunk of content) {
    hash.update(chunk)
    await writer.write(chunk)
    onProgress?.(writer.position)
  }
  const size = writer.position - offset
  const digest = `sha256:${hash.digest('hex')}`
  await writer.write(padding(size))
  await writer.patch(headerPosition, encodeHeader(blobPath(digest), size))
  return { diffId: digest, digest, offset, size }
}

/** The layer as plain tar, whatever the Engine stores. */
function plainTar(head: Buffer, rest: AsyncIterator<Buffer>): AsyncIterable<Buffer> {
  if (head.subarray(0, 4).equals(ZSTD_MAGIC)) throw new HakuError('engine.invalid', 'The Docker Engine stores this image with zstd-compressed layers, which can not be packaged yet. Use an Engine with a graph driver, or an image with gzip layers.')
  const bytes = chain(head, rest)
  if (!head.subarray(0, 2).equals(GZIP_MAGIC)) return bytes
  const gunzip = createGunzip({ chunkSize: 256 * 1024 })
  pipeline(bytes, gunzip).catch(() => undefined)
  return gunzip as AsyncIterable<Buffer>
}

async function* chain(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
}

async function collect(head: Buffer, rest: AsyncIterator<Buffer>, name: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of chain(head, rest)) {
    length += chunk.length
    if (length > MAX_DOCUMENT_BYTES) throw new HakuError('tarball.damaged', `${name} in the Engine's archive is larger than any document of an image.`)
    chunks.push(Buffer.from(chunk))
  }
  return Buffer.concat(chunks)
}

function findConfig(documents: Map<string, Buffer>): unknown {
  try {
    const [image] = savedManifest.parse(JSON.parse(String(documents.get('manifest.json') ?? '')))
    return JSON.parse(String(documents.get(image?.Config ?? '') ?? ''))
  } catch (error) {
    throw new HakuError('tarball.damaged', `The Docker Engine sent an archive that is not one image: ${errorMessage(error)}`, { cause: error })
  }
}

interface Blob {
  digest: string
  bytes: Buffer
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function toBlob(value: unknown): Blob {
  const bytes = json(value)
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, bytes }
}

function blobPath(digest: string): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`
}

async function writeEntry(writer: TarballWriter, name: string, bytes: Buffer): Promise<void> {
  await writer.write(encodeHeader(name, bytes.length))
  await writer.write(bytes)
  await writer.write(padding(bytes.length))
}

/** OCI image manifest (opencontainers/image-spec `manifest.md`). */
function ociManifest(config: Blob, layers: VersionLayer[]): unknown {
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config.digest, size: config.bytes.length },
    layers: layers.map(({ digest, size }) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size })),
  }
}

/** The annotations give the image its name in the containerd image store; `manifest.json` does in the others. */
function ociIndex(manifest: Blob, { repoTag }: ImageIdentity): unknown {
  const annotations = { 'io.containerd.image.name': `docker.io/${repoTag}`, 'org.opencontainers.image.ref.name': repoTag.split(':')[1] ?? 'latest' }
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: manifest.digest, size: manifest.bytes.length, annotations }],
  }
}

async function digestOf(stream: Readable, size: number, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256')
  let length = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    signal?.throwIfAborted()
    length += chunk.length
    hash.update(chunk)
  }
  if (length !== size) throw new HakuError('storage.unavailable', `The shared storage gave back ${length} of ${size} bytes that were written. Check it.`)
  return hash.digest('hex')
}
