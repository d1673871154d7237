import { createHash } from 'node:crypto'
import { quote } from '#core/names.ts'
import { chain, type PlainTar, plainTar, readHead, supportedCompressions, unsupportedCompression } from '#core/tarballs/plain-tar.ts'
import type { Spool, SpooledLayer } from '#core/tarballs/spool.ts'
import type { TarEntry } from '#core/tarballs/tar/entry.ts'
import { readTar } from '#core/tarballs/tar/read.ts'
import type { Limits } from './limits.ts'
import { refused } from './refusal.ts'

export interface UntrustedArchive {
  /** The small JSON documents, by name. Those among the blobs have the digest that they are named by. */
  documents: Map<string, Buffer>
  /** Layers as plain tar, by name. Those among the blobs had the digest that they are named by, as they were stored. */
  layers: Map<string, SpooledLayer>
  /** Names that stand for a layer under another name, as Engines write it for a layer that occurs twice. */
  links: Map<string, string>
}

/**
 * Takes an archive of an image apart while it streams by, from anybody: nothing is unpacked, no name in it becomes a path, and everything
 * that no program writes which makes such archives is refused.
 *
 * @throws `import.refused`, `storage.full`; `tarball.damaged` and errors of zlib for what is no archive, see `toRefusal`
 */
export async function takeApart(source: AsyncIterable<Buffer>, { spool, limits, signal }: { spool: Spool; limits: Limits; signal: AbortSignal }): Promise<UntrustedArchive> {
  const archive: UntrustedArchive = { documents: new Map(), layers: new Map(), links: new Map() }
  const names = new Set<string>()
  let budget = MAX_DOCUMENT_BYTES
  for await (const { entry, content } of readTar(await openPlain(source, limits))) {
    signal.throwIfAborted()
    assertName(entry, names)
    if (entry.type === 'symlink') archive.links.set(entry.path, linkedLayer(entry))
    if (entry.type !== 'file') continue
    const isLayer = LAYER_RE.test(entry.path)
    if (!isLayer && !DOCUMENT_RE.test(entry.path)) continue
    const chunks = content[Symbol.asyncIterator]()
    const head = await readHead(chunks)
    if (isLayer && head[0] !== OPENING_BRACE) {
      archive.layers.set(entry.path, await takeLayer(entry.path, chain(head, chunks), { spool, limits, signal }))
      continue
    }
    if (entry.size > budget) throw refused(`${quote(entry.path)} is larger than any document of an image`)
    budget -= entry.size
    const document = await collect(chain(head, chunks))
    assertDigest(entry.path, createHash('sha256').update(document).digest('hex'))
    archive.documents.set(entry.path, document)
  }
  return archive
}

// --- internal ---

/** Larger JSON documents do not occur; larger blobs are layers. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
/** Docker's legacy layout, Podman's and Skopeo's, that of other builders, and the OCI layout. */
const LAYER_RE = /^(?:[0-9a-f]{64}\/layer\.tar|[0-9a-f]{64}\.tar(?:\.gz)?|blobs\/sha256\/[0-9a-f]{64})$/
const DOCUMENT_RE = /^(?:[0-9a-f]{64}\.json|sha256:[0-9a-f]{64}|config\.json|manifest\.json|index\.json)$/
const BLOB_RE = /^blobs\/sha256\/(?<digest>[0-9a-f]{64})$/
const LINK_RE = /^\.\.\/(?<layer>[0-9a-f]{64}(?:\/layer\.tar|\.tar))$/
const OPENING_BRACE = 0x7b

/** The archive itself may be compressed, as `docker save | gzip` makes it. */
async function openPlain(source: AsyncIterable<Buffer>, limits: Limits): Promise<AsyncIterable<Buffer>> {
  const chunks = limits.received(source)[Symbol.asyncIterator]()
  const { content, isCompressed } = await decompressed('it', chunks)
  return isCompressed ? limits.inflated(content) : content
}

/** @param what it is, for the refusal */
async function decompressed(what: string, chunks: AsyncIterator<Buffer>): Promise<PlainTar> {
  const head = await readHead(chunks)
  const compression = unsupportedCompression(head)
  if (compression !== undefined) throw refused(`${what} is compressed with ${compression}; ${supportedCompressions()} are taken`)
  return plainTar(head, chunks)
}

function assertName({ path, type }: TarEntry, names: Set<string>): void {
  if (isUnsafe(path)) throw refused(`it has an entry ${quote(path)}, which leads out of it`)
  if (type !== 'file' && type !== 'directory' && type !== 'symlink') throw refused(`its entry ${quote(path)} is neither a file nor a directory (${type})`)
  if (type === 'directory') return
  if (names.has(path)) throw refused(`it has ${quote(path)} twice`)
  names.add(path)
}

function isUnsafe(path: string): boolean {
  return path.startsWith('/') || path.includes('\0') || path.split('/').includes('..')
}

function linkedLayer({ path, target }: TarEntry): string {
  const layer = LAYER_RE.test(path) && !BLOB_RE.test(path) ? LINK_RE.exec(target)?.groups?.['layer'] : undefined
  if (layer === undefined) throw refused(`its entry ${quote(path)} is a link to ${quote(target)}`)
  return layer
}

async function takeLayer(name: string, content: AsyncIterable<Buffer>, { spool, limits, signal }: { spool: Spool; limits: Limits; signal: AbortSignal }): Promise<SpooledLayer> {
  const stored = createHash('sha256')
  // Of what is not compressed the spool takes the digest anyway.
  let isHashed = true
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const chunk of content) {
      if (isHashed) stored.update(chunk)
      yield chunk
    }
  }
  const plain = await decompressed(`its layer ${name}`, hashed())
  isHashed = plain.isCompressed
  const file = await spool.createLayer()
  async function* spooled(): AsyncGenerator<Buffer> {
    for await (const chunk of plain.content) {
      signal.throwIfAborted()
      await limits.spooled(chunk.length)
      const wait = file.write(chunk)
      if (wait) await wait
      yield chunk
    }
  }
  const assertEntry = createLayerCheck(name)
  for await (const { entry } of readTar(spooled())) assertEntry(entry)
  const layer = await file.end()
  assertDigest(name, plain.isCompressed ? stored.digest('hex') : layer.digest.replace(/^sha256:/, ''))
  return layer
}

/** Whiteouts of nothing, of a directory itself, and of the one above it. */
const WHITEOUTS_OUT: readonly (string | undefined)[] = ['.wh.', '.wh..', '.wh...']

/** What an Engine unpacks is its business, and it takes care; nothing that tries to lead it astray gets there all the same. */
function createLayerCheck(name: string): (entry: TarEntry) => void {
  const links = new Set<string>()

  /** The symbolic link of this layer that a path leads through. */
  function linkAbove(parts: readonly string[]): string | undefined {
    if (links.size === 0) return undefined
    return parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join('/')).find((above) => links.has(above))
  }

  return ({ path, type, target }) => {
    const parts = partsOf(path)
    if (isUnsafe(path) || WHITEOUTS_OUT.includes(parts.at(-1))) throw refused(`its layer ${name} has an entry ${quote(path)}, which leads out of it`)
    const link = linkAbove(parts)
    if (link !== undefined) throw refused(`its layer ${name} has an entry ${quote(path)}, which leads through the symbolic link ${quote(link)}`)
    if (type === 'link') {
      const through = linkAbove(partsOf(target))
      if (isUnsafe(target) || through !== undefined) throw refused(`its layer ${name} has a hard link ${quote(path)} to ${quote(target)}, which leads ${through === undefined ? 'out of it' : `through the symbolic link ${quote(through)}`}`)
    }
    if (type === 'symlink') links.add(parts.join('/'))
    else links.delete(parts.join('/'))
  }
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

function assertDigest(name: string, found: string): void {
  const expected = BLOB_RE.exec(name)?.groups?.['digest']
  if (expected !== undefined && expected !== found) throw refused(`${name} has the digest ${found}`)
}

async function collect(content: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of content) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
