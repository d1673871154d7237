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

/** Node.js has it from 22.15 on; the types are those of 20. */
function createZstd(): Duplex {
  const create = (zlib as { createZstdDecompress?: (options: { chunkSize: number }) => Duplex }).createZstdDecompress
  if (!create) {
    throw new HakuError('engine.invalid', 'The Docker Engine stores this image with zstd-compressed layers, which needs Node.js 22.15 or newer on the Host. Update Node.js, or use a base image with gzip layers.')
  }
  return create({ chunkSize: CHUNK_SIZE })
}
