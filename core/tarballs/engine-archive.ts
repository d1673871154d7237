import type { Readable } from 'node:stream'
import { errorMessage, HakuError, isHakuError, systemErrorCode } from '../errors.ts'
import { createLayerNames } from './layer-names.ts'
import { chain, plainTar } from './plain-tar.ts'
import type { Spool, SpooledLayer } from './spool.ts'
import { readTar } from './tar/read.ts'

export interface SpoolArchiveOptions {
  /** An archive of images in any of the three layouts that Engines write. */
  source: Readable
  spool: Spool
  /**
   * Diff ids of the image, lowest first, where they are known beforehand. With them, a layer that is not {@link wanted} need not even be
   * decompressed. Never trusted: each digest is taken from the bytes.
   */
  expectedLayers?: readonly string[]
  /** Whether this layer is to be kept. All are, if left out. */
  wanted?: (diffId: string) => boolean
  signal?: AbortSignal
  /** Bytes of the layers that were kept so far. */
  onProgress?: (bytes: number) => void
}

export interface SpooledArchive {
  /** The small JSON documents, by name. */
  documents: ReadonlyMap<string, Buffer>
  /** Layers as plain tar, by digest. */
  layers: Map<string, SpooledLayer>
}

/**
 * Takes an archive of an Engine apart while it streams by: its layers go to the spool, uncompressed, so that the same layer has the
 * same digest in every version, whichever Engine it came from.
 *
 * @throws `tarball.damaged` if it is not an archive
 */
export async function spoolArchive(options: SpoolArchiveOptions): Promise<SpooledArchive> {
  const { source, signal } = options
  const stop = () => source.destroy()
  signal?.addEventListener('abort', stop, { once: true })
  try {
    signal?.throwIfAborted()
    return await takeApart(options)
  } catch (error) {
    source.destroy()
    signal?.throwIfAborted()
    throw toDamage(failureOf(source) ?? error)
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

// --- internal ---

/** Larger JSON documents do not occur; larger blobs are layers. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
const LAYER_NAME_RE = /^(?:[0-9a-f]{64}\/layer\.tar|[0-9a-f]{64}\.tar|blobs\/sha256\/[0-9a-f]{64})$/
const DOCUMENT_NAME_RE = /^(?:[0-9a-f]{64}\.json|manifest\.json|index\.json)$/
/** What every JSON object begins with, and neither a tar nor anything compressed. */
const OPENING_BRACE = 0x7b

async function takeApart({ source, spool, expectedLayers, wanted, onProgress }: SpoolArchiveOptions): Promise<SpooledArchive> {
  const documents = new Map<string, Buffer>()
  const layers = new Map<string, SpooledLayer>()
  const names = createLayerNames(expectedLayers)
  let budget = MAX_DOCUMENT_BYTES
  let bytes = 0
  for await (const { entry, content } of readTar(source)) {
    const isLayer = LAYER_NAME_RE.test(entry.path)
    if (entry.type !== 'file' || (!isLayer && !DOCUMENT_NAME_RE.test(entry.path))) continue
    const chunks = content[Symbol.asyncIterator]()
    const first = await chunks.next()
    const head = first.done ? Buffer.alloc(0) : first.value
    if (!isLayer || head[0] === OPENING_BRACE) {
      const document = await collect(head, chunks, { name: entry.path, limit: budget })
      budget -= document.length
      documents.set(entry.path, document)
      continue
    }
    const plain = plainTar(head, chunks)
    const foretold = names.digestOf(entry.path, plain.isCompressed)
    if (foretold === 'unwanted' || (foretold !== undefined && wanted && !wanted(foretold))) continue
    const file = await spool.createLayer()
    for await (const chunk of plain.content) {
      const wait = file.write(chunk)
      if (wait) await wait
      onProgress?.(bytes + file.size)
    }
    bytes += file.size
    const layer = await file.end()
    layers.set(layer.digest, layer)
  }
  return { documents, layers }
}

/** What the source itself failed with, if it did: to be left in the middle counts as a failure for a stream too. */
function failureOf({ errored }: Readable): Error | undefined {
  return errored && errored.name !== 'AbortError' ? errored : undefined
}

/** zlib has words of its own for bytes that make no sense. */
function toDamage(error: unknown): unknown {
  const code = systemErrorCode(error)
  if (isHakuError(error) ? error.code !== 'tarball.damaged' : code !== undefined && !code.startsWith('Z_')) return error
  return new HakuError('tarball.damaged', `The archive can not be read: ${errorMessage(error)}`, { cause: error })
}

async function collect(head: Buffer, rest: AsyncIterator<Buffer>, { name, limit }: { name: string; limit: number }): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of chain(head, rest)) {
    length += chunk.length
    if (length > limit) throw new HakuError('tarball.damaged', `${name} in the archive is larger than any document of an image.`)
    chunks.push(Buffer.from(chunk))
  }
  return Buffer.concat(chunks)
}
