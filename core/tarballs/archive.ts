import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract } from 'tar-stream'
import { errorMessage, HakuError, isHakuError, systemErrorCode } from '../errors.ts'
import { type BlockOutput, createBlockOutput } from './block-output.ts'
import { rewriteConfig, type ImageIdentity } from './image-config.ts'
import { createLayerNames, type LayerNames } from './layer-names.ts'
import type { VersionLayer, VersionManifest } from './manifest.ts'
import { chain, plainTar } from './plain-tar.ts'
import { findConfig } from './saved-image.ts'
import type { TarballWriter } from './store.ts'
import { BLOCK_BYTES, encodeHeader, padding } from './tar-header.ts'

export interface WriteArchiveOptions {
  /** What an Engine's `save` of one image gives. Any of the three layouts that Engines write. */
  source: Readable
  writer: TarballWriter
  image: ImageIdentity
  /**
   * Diff ids of the image, lowest first, as the Engine's inspect tells them. With them the names of the layers are known
   * beforehand, which spares reading the whole file back. Never trusted: each digest is checked.
   */
  expectedLayers?: readonly string[]
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
 * A layer's digest is only known once it went by. Its header is written with the digest that it should have, and patched if
 * it has another (see {@link TarballWriter.patch}); then the digest of the whole file is taken from what the storage gives back.
 * It does not end the writer, except by `finish`: after a failure the caller aborts it.
 *
 * @throws `tarball.damaged` if what the Engine sent is not one whole image
 */
export async function writeArchive(options: WriteArchiveOptions): Promise<WrittenArchive> {
  const { writer, image, signal } = options
  const output = createBlockOutput(writer, options.onProgress)
  try {
    const copied = await copyLayers(output, options)
    const config = rewriteConfig(findConfig(copied.documents), image)
    const stored = await resolveLayers(copied.layers)
    const layers = selectLayers(stored, config.rootfs.diff_ids, image.environment)
    const configBlob = toBlob(config)
    const manifestBlob = toBlob(ociManifest(configBlob, layers))
    for (const blob of [configBlob, manifestBlob]) await writeEntry(output, blobPath(blob.digest), blob.bytes)
    await writeEntry(output, 'index.json', json(ociIndex(manifestBlob, image)))
    await writeEntry(output, 'oci-layout', json({ imageLayoutVersion: '1.0.0' }))
    await writeEntry(output, 'manifest.json', json([{ Config: blobPath(configBlob.digest), RepoTags: [image.repoTag], Layers: layers.map(({ digest }) => blobPath(digest)) }]))
    await output.write(Buffer.alloc(2 * BLOCK_BYTES))
    const streamed = await output.finish()
    const size = output.position
    const isPatched = await patchHeaders(writer, stored)
    await writer.finish()
    signal?.throwIfAborted()
    const sha256 = isPatched ? await digestOf(writer.readBack(), size, signal) : streamed
    return { configDigest: configBlob.digest, manifestDigest: manifestBlob.digest, size, sha256, layers }
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  } finally {
    await output.close()
  }
}

// --- internal ---

/** Larger JSON documents do not occur; larger blobs are layers. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
const LAYER_NAME_RE = /^(?:[0-9a-f]{64}\/layer\.tar|blobs\/sha256\/[0-9a-f]{64})$/
const DOCUMENT_NAME_RE = /^(?:[0-9a-f]{64}\.json|manifest\.json|index\.json)$/
/** The name of a layer whose digest nobody foretold: of the same length. */
const PLACEHOLDER = `sha256:${'0'.repeat(64)}`

interface CopiedLayer {
  headerPosition: number
  header: Buffer
  offset: number
  size: number
  digest: Promise<string>
}

type StoredLayer = Omit<CopiedLayer, 'digest'> & { digest: string }

interface Copied {
  documents: Map<string, Buffer>
  layers: CopiedLayer[]
}

async function copyLayers(output: BlockOutput, { source, signal, expectedLayers }: WriteArchiveOptions): Promise<Copied> {
  const documents = new Map<string, Buffer>()
  const layers: CopiedLayer[] = []
  const names = createLayerNames(expectedLayers)
  let budget = MAX_DOCUMENT_BYTES
  await forEachEntry(source, signal, async (name, size, body) => {
    const isLayer = LAYER_NAME_RE.test(name)
    if (!isLayer && !DOCUMENT_NAME_RE.test(name)) return
    const chunks = body[Symbol.asyncIterator]()
    const first = await chunks.next()
    const head = first.done ? Buffer.alloc(0) : first.value
    if (!isLayer || head[0] === OPENING_BRACE) {
      const document = await collect(head, chunks, { name, limit: budget })
      budget -= document.length
      documents.set(name, document)
      return
    }
    const layer = await copyLayer(output, { name, size, head, rest: chunks, names })
    if (layer) layers.push(layer)
  })
  return { documents, layers }
}

/** What every JSON object begins with, and neither a tar nor anything compressed. */
const OPENING_BRACE = 0x7b

/** Runs through the regular files of a tar stream. What follows the archive's end is read too: else the Engine would wait. */
async function forEachEntry(source: Readable, signal: AbortSignal | undefined, visit: (name: string, size: number, body: AsyncIterable<Buffer>) => Promise<void>): Promise<void> {
  const entries = extract()
  const fed = pipeline(source, entries, signal ? { signal } : {})
  // It fails together with the loop below, which tells; alone it must not count as unhandled.
  fed.catch(() => undefined)
  let cause: unknown
  try {
    for await (const entry of entries) {
      const { name, type, size } = entry.header
      if (type === 'file' && name !== undefined) {
        await visit(name.replace(/^\.\//, ''), size ?? 0, entry as AsyncIterable<Buffer>).catch((error: unknown) => {
          // Known only now: once the loop is left, the pipeline breaks both streams with an error of its own.
          cause = source.errored ?? error
          throw error
        })
      }
      entry.resume()
    }
    await fed
  } catch (error) {
    source.destroy()
    signal?.throwIfAborted()
    throw toDamage(cause ?? source.errored ?? error)
  }
}

/** tar-stream and zlib have words of their own for bytes that make no sense. */
function toDamage(error: unknown): unknown {
  const code = systemErrorCode(error)
  if (isHakuError(error) || (code !== undefined && !code.startsWith('Z_'))) return error
  return new HakuError('tarball.damaged', `The Docker Engine sent an archive that can not be read: ${errorMessage(error)}. Try again; if it stays so, the Engine's storage is damaged.`, { cause: error })
}

interface LayerSource {
  name: string
  /** Bytes as the Engine stores it. */
  size: number
  head: Buffer
  rest: AsyncIterator<Buffer>
  names: LayerNames
}

/** `undefined` for a layer that is known to be of no use: one of another image, or one that is there already. */
async function copyLayer(output: BlockOutput, { name, size, head, rest, names }: LayerSource): Promise<CopiedLayer | undefined> {
  const { isCompressed, content } = plainTar(head, rest)
  const foretold = names.digestOf(name, isCompressed)
  if (foretold === 'unwanted') {
    // Read to its end all the same: the entries after it come through the same pipe.
    for await (const chunk of content) void chunk
    return undefined
  }
  const header = isCompressed || foretold === undefined ? encodeHeader(blobPath(PLACEHOLDER), 0) : encodeHeader(blobPath(foretold), size)
  const headerPosition = output.position
  await output.write(header)
  const offset = output.position
  await output.startLayer()
  for await (const chunk of content) {
    const wait = output.write(chunk)
    if (wait) await wait
  }
  const { digest } = await output.endLayer()
  const written = output.position - offset
  await output.write(padding(written))
  return { headerPosition, header, offset, size: written, digest }
}

function resolveLayers(layers: CopiedLayer[]): Promise<StoredLayer[]> {
  return Promise.all(layers.map(async (layer) => ({ ...layer, digest: `sha256:${await layer.digest}` })))
}

/** In the image's order. Each layer of the image must be there, and nothing else: what is stored stays for years. */
function selectLayers(stored: StoredLayer[], diffIds: string[], environment: string): VersionLayer[] {
  const byDigest = new Map(stored.map(({ digest, offset, size }) => [digest, { diffId: digest, digest, offset, size }]))
  const layers = diffIds.map((diffId) => {
    const layer = byDigest.get(diffId)
    if (!layer) throw new HakuError('tarball.damaged', `The Docker Engine sent the image of ${environment} without its layer ${diffId}. Try again; if it stays so, the Engine's storage is damaged.`)
    return layer
  })
  const foreign = stored.find(({ digest }) => !diffIds.includes(digest))
  if (foreign) throw new HakuError('tarball.damaged', `The Docker Engine sent the image of ${environment} with a layer ${foreign.digest} that it does not consist of. Try again; if it stays so, the Engine's storage is damaged.`)
  return layers
}

/** Whether any header had to be written anew. */
async function patchHeaders(writer: TarballWriter, layers: StoredLayer[]): Promise<boolean> {
  const wrong = layers.map((layer) => ({ ...layer, right: encodeHeader(blobPath(layer.digest), layer.size) })).filter(({ header, right }) => !header.equals(right))
  for (const { headerPosition, right } of wrong) await writer.patch(headerPosition, right)
  return wrong.length > 0
}

async function collect(head: Buffer, rest: AsyncIterator<Buffer>, { name, limit }: { name: string; limit: number }): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of chain(head, rest)) {
    length += chunk.length
    if (length > limit) throw new HakuError('tarball.damaged', `${name} in the Engine's archive is larger than any document of an image.`)
    chunks.push(Buffer.from(chunk))
  }
  return Buffer.concat(chunks)
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

async function writeEntry(output: BlockOutput, name: string, bytes: Buffer): Promise<void> {
  await output.write(encodeHeader(name, bytes.length))
  await output.write(bytes)
  await output.write(padding(bytes.length))
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
