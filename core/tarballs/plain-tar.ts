import type { Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as zlib from 'node:zlib'
import { HakuError } from '../errors.ts'

export interface PlainTar {
  isCompressed: boolean
  content: AsyncIterable<Buffer>
}

const GZIP_MAGIC = Buffer.from([0x1f, 0x8b])
const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
const CHUNK_SIZE = 256 * 1024

/** Compressions that are told and not taken. Each begins with bytes that no name in a tar has. */
const UNSUPPORTED: readonly (readonly [name: string, magic: Buffer])[] = [
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
  ['lz4', Buffer.from([0x04, 0x22, 0x4d, 0x18])],
  ['lzma', Buffer.from([0x5d, 0x00, 0x00])],
  ['compress', Buffer.from([0x1f, 0x9d])],
]
/** A name in a tar may begin with "BZh" too; what follows the digit in bzip2 is pi, or the root of it where there is no content. */
const BZIP2_RE = /^425a683[1-9](?:314159265359|177245385090)/
/** So many bytes tell all of them. */
const HEAD_BYTES = 10

/** The compression of what begins so, if there is one that can not be taken here. */
export function unsupportedCompression(head: Buffer): string | undefined {
  if (startsWith(head, ZSTD_MAGIC) && !zstd()) return 'zstd'
  if (BZIP2_RE.test(head.toString('hex', 0, HEAD_BYTES))) return 'bzip2'
  return UNSUPPORTED.find(([, magic]) => startsWith(head, magic))?.[0]
}

/** What can be taken here, for a message. */
export function supportedCompressions(): string {
  return zstd() ? 'gzip, zstd or none' : 'gzip or none (zstd from Node.js 22.15 on)'
}

/** Enough of the beginning to tell what it is: a first chunk may be a single byte. Shorter only where there is no more. */
export async function readHead(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0)
  while (head.length < HEAD_BYTES) {
    const next = await chunks.next()
    if (next.done) break
    head = head.length === 0 && next.value.length >= HEAD_BYTES ? next.value : Buffer.concat([head, next.value])
  }
  return head
}

/**
 * A layer as plain tar, whatever the Engine stores: told by its first bytes, because names and media types do not tell in every layout.
 *
 * @throws `engine.invalid` for zstd where this Node.js can not read it
 */
export function plainTar(head: Buffer, rest: AsyncIterator<Buffer>): PlainTar {
  const bytes = chain(head, rest)
  if (startsWith(head, GZIP_MAGIC)) return { isCompressed: true, content: through(bytes, zlib.createGunzip({ chunkSize: CHUNK_SIZE })) }
  if (startsWith(head, ZSTD_MAGIC)) return { isCompressed: true, content: through(bytes, createZstd()) }
  return { isCompressed: false, content: bytes }
}

/** The bytes that were taken to look at, and those after them. */
export async function* chain(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
}

// --- internal ---

function startsWith(bytes: Buffer, magic: Buffer): boolean {
  return bytes.subarray(0, magic.length).equals(magic)
}

/** Both fail together; the reader of the output tells. */
function through(bytes: AsyncIterable<Buffer>, decompress: Duplex): AsyncIterable<Buffer> {
  pipeline(bytes, decompress).catch(() => undefined)
  return decompress as Readable as AsyncIterable<Buffer>
}

type CreateZstd = (options: { chunkSize: number }) => Duplex

/** Node.js has it from 22.15 on; the types are those of 20. */
function zstd(): CreateZstd | undefined {
  return (zlib as { createZstdDecompress?: CreateZstd }).createZstdDecompress
}

function createZstd(): Duplex {
  const create = zstd()
  if (!create) {
    throw new HakuError('engine.invalid', 'The Docker Engine stores this image with zstd-compressed layers, which needs Node.js 22.15 or newer on the Host. Update Node.js, or use a base image with gzip layers.')
  }
  return create({ chunkSize: CHUNK_SIZE })
}
