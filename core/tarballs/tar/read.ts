import { HakuError } from '../../errors.ts'
import { quote } from '../../names.ts'
import { BLOCK_BYTES, padding, type TarEntry, type TarEntryType } from './entry.ts'

/** An entry and its content. What is not read of the content is skipped when the next entry is asked for. */
export interface ReadEntry {
  entry: TarEntry
  content: AsyncIterable<Buffer>
}

/**
 * Reads a tar stream entry by entry, byte for byte: ustar, pax and GNU's long names. One chunk is held in memory. What follows the
 * archive's end is read too: else whoever writes it would wait.
 *
 * @throws `tarball.damaged`: not a tar, cut, wrong checksum, or an entry of a kind that no layer has (sparse, multi-volume)
 */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<ReadEntry> {
  const bytes = createCursor(source)
  try {
    yield* readEntries(bytes)
    await bytes.drain()
  } finally {
    await bytes.close()
  }
}

// --- internal ---

async function* readEntries(bytes: Cursor): AsyncGenerator<ReadEntry> {
  let extra = new Map<string, string>()
  for (;;) {
    const block = await bytes.read(BLOCK_BYTES)
    if (block === undefined || block.every((byte) => byte === 0)) break
    const { flag, ...header } = parseHeader(block)
    const size = toNumber(extra.get('size')) ?? header.size
    if (flag === 'x' || flag === 'L' || flag === 'K') {
      const text = await readText(bytes, header.size)
      if (flag === 'x') extra = new Map([...extra, ...parsePax(text)])
      else extra.set(flag === 'L' ? 'path' : 'linkpath', text.replace(/\0[^]*$/, ''))
      continue
    }
    if (flag === 'g') {
      await readText(bytes, header.size)
      continue
    }
    const type = TYPES[flag]
    if (!type) throw damaged(`it has an entry of a kind that is not supported (${quote(flag)})`)
    const entry = toEntry({ ...header, type, size: type === 'file' ? size : 0 }, extra)
    extra = new Map()
    const content = bytes.take(entry.size)
    yield { entry, content }
    for await (const rest of content) void rest
    if ((await bytes.read(padding(entry.size).length)) === undefined) throw damaged('it was cut')
  }
}

/** Longer pax headers do not occur: a path has 4096 bytes, all extended attributes of a file 64 KiB. */
const MAX_PAX_BYTES = 1024 * 1024
const TYPES: Partial<Record<string, TarEntryType>> = { '0': 'file', '\0': 'file', '7': 'file', '1': 'link', '2': 'symlink', '3': 'character', '4': 'block', '5': 'directory', '6': 'fifo' }

type Header = Omit<TarEntry, 'xattrs' | 'type'>

function damaged(what: string): HakuError {
  return new HakuError('tarball.damaged', `Not a tar archive that can be read: ${what}.`)
}

function parseHeader(block: Buffer): Header & { flag: string } {
  const stored = Number.parseInt(field(block, 148, 8), 8)
  const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0)
  if (stored !== sum) throw damaged('the checksum of a header is wrong')
  const isUstar = field(block, 257, 5) === 'ustar'
  // GNU's own magic is "ustar " and has other things where POSIX has a prefix.
  const prefix = isUstar && block[262] === 0 ? field(block, 345, 155) : ''
  const name = field(block, 0, 100)
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, 100, 8) & 0o7777,
    uid: number(block, 108, 8),
    gid: number(block, 116, 8),
    size: number(block, 124, 12),
    mtime: String(number(block, 136, 12)),
    flag: String.fromCharCode(block[156] ?? 0),
    target: field(block, 157, 100),
    major: isUstar ? number(block, 329, 8) : 0,
    minor: isUstar ? number(block, 337, 8) : 0,
  }
}

function toEntry(header: Header & { type: TarEntryType }, extra: ReadonlyMap<string, string>): TarEntry {
  if ([...extra.keys()].some((key) => key.startsWith('GNU.sparse.'))) throw damaged('it has a sparse file, which layers do not')
  const path = extra.get('path') ?? header.path
  const target = extra.get('linkpath') ?? header.target
  // Archives before POSIX mark a directory only by its name.
  const type = header.type === 'file' && path.endsWith('/') ? 'directory' : header.type
  return {
    ...header,
    type,
    path: plainPath(path),
    target: type === 'link' ? plainPath(target) : type === 'symlink' ? target : '',
    uid: toNumber(extra.get('uid')) ?? header.uid,
    gid: toNumber(extra.get('gid')) ?? header.gid,
    mtime: extra.get('mtime') ?? header.mtime,
    xattrs: new Map([...extra].flatMap(([key, value]) => (key.startsWith(XATTR) ? [[key.slice(XATTR.length), value] as const] : []))),
  }
}

const XATTR = 'SCHILY.xattr.'

/** As tools write it: `./a/b/`. Nothing else is changed: what a path may not contain is for the caller to say. */
function plainPath(path: string): string {
  const plain = path.replace(/^(?:\.\/+)+/, '').replace(/\/+$/, '')
  return plain === '.' ? '' : plain
}

function parsePax(records: string): Map<string, string> {
  const found = new Map<string, string>()
  for (let at = 0; at < records.length; ) {
    const space = records.indexOf(' ', at)
    const length = Number(records.slice(at, space))
    const record = records.slice(space + 1, at + length - 1)
    const equals = record.indexOf('=')
    if (space < 0 || !Number.isInteger(length) || length < 4 || equals < 1 || records[at + length - 1] !== '\n') throw damaged('a pax header makes no sense')
    found.set(record.slice(0, equals), record.slice(equals + 1))
    at += length
  }
  return found
}

async function readText(bytes: Cursor, size: number): Promise<string> {
  if (size > MAX_PAX_BYTES) throw damaged('a name in it is longer than any file system takes')
  const found = await bytes.read(size)
  const rest = await bytes.read(padding(size).length)
  if (!found || !rest) throw damaged('it was cut')
  return found.toString('latin1')
}

function field(block: Buffer, at: number, length: number): string {
  const bytes = block.toString('latin1', at, at + length)
  const end = bytes.indexOf('\0')
  return end < 0 ? bytes : bytes.slice(0, end)
}

/** Octal digits, or base 256 with the first bit set (GNU; the next bit is the sign). */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0
  if (first >= 0x80) {
    let value = first & 0x40 ? -1n : 0n
    value = (value << 7n) | BigInt(first & 0x7f)
    for (let index = 1; index < length; index += 1) value = (value << 8n) | BigInt(block[at + index] ?? 0)
    return Number(value)
  }
  const digits = field(block, at, length).trim()
  if (digits === '') return 0
  if (!/^[0-7]+$/.test(digits)) throw damaged('a number in a header makes no sense')
  return Number.parseInt(digits, 8)
}

function toNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw damaged('a number in a pax header makes no sense')
  return value
}

interface Cursor {
  /** Exactly so many bytes; `undefined` at the end of the source. */
  read(length: number): Promise<Buffer | undefined>
  /** So many bytes as they come. May be taken up again where it was left. */
  take(length: number): AsyncIterable<Buffer>
  drain(): Promise<void>
  /** The source is not wanted any more. */
  close(): Promise<void>
}

function createCursor(source: AsyncIterable<Uint8Array>): Cursor {
  const chunks = source[Symbol.asyncIterator]()
  let chunk: Buffer = Buffer.alloc(0)

  async function fill(): Promise<boolean> {
    while (chunk.length === 0) {
      const next = await chunks.next()
      if (next.done) return false
      chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength)
    }
    return true
  }
  function bite(length: number): Buffer {
    const bitten = chunk.subarray(0, length)
    chunk = chunk.subarray(bitten.length)
    return bitten
  }

  return {
    async read(length) {
      if (chunk.length >= length) return bite(length)
      const parts: Buffer[] = []
      for (let missing = length; missing > 0; ) {
        if (!(await fill())) {
          if (parts.length === 0) return undefined
          throw damaged('it was cut')
        }
        const part = bite(missing)
        parts.push(part)
        missing -= part.length
      }
      return Buffer.concat(parts)
    },
    take(length) {
      let missing = length
      return {
        [Symbol.asyncIterator]: () => ({
          async next() {
            if (missing === 0) return { done: true, value: undefined }
            if (!(await fill())) throw damaged('it was cut')
            const value = bite(missing)
            missing -= value.length
            return { done: false, value }
          },
        }),
      }
    },
    async drain() {
      chunk = Buffer.alloc(0)
      while (await fill()) chunk = Buffer.alloc(0)
    },
    async close() {
      await chunks.return?.()
    },
  }
}
