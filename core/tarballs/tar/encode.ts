import { BLOCK_BYTES, padding, type TarEntry, type TarEntryType } from './entry.ts'

/**
 * The header of an entry: POSIX ustar, with a pax header (POSIX.1-2001) before it for whatever does not fit. The same entry always gives
 * the same bytes.
 */
export function encodeEntry(entry: TarEntry): Buffer {
  const records = paxRecords(entry)
  const header = ustarHeader(entry, FLAGS[entry.type])
  if (records.length === 0) return header
  const pax = Buffer.from(records.join(''), 'latin1')
  const paxHeader = ustarHeader({ ...NOTHING, path: 'PaxHeaders/0', size: pax.length }, 'x')
  return Buffer.concat([paxHeader, pax, padding(pax.length), header])
}

/** The header of a plain file as it stands in our archives: owner root, mode 0644, time zero. */
export function encodeFile(path: string, size: number): Buffer {
  return encodeEntry({ ...NOTHING, path, size })
}

// --- internal ---

const NOTHING: TarEntry = { path: '', type: 'file', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: '0', target: '', major: 0, minor: 0, xattrs: new Map() }
const FLAGS: Record<TarEntryType, string> = { file: '0', link: '1', symlink: '2', character: '3', block: '4', directory: '5', fifo: '6' }
const NAME_BYTES = 100
const MAX_ID = 0o7777777
const MAX_SIZE = 0o77777777777

function storedPath({ path, type }: TarEntry): string {
  return type === 'directory' ? `${path}/` : path
}

/** What ustar can not say: long names, large numbers, times before 1970 or finer than a second, extended attributes. */
function paxRecords(entry: TarEntry): string[] {
  const records: string[] = []
  const add = (key: string, value: string | number) => records.push(paxRecord(key, String(value)))
  const path = storedPath(entry)
  if (path.length > NAME_BYTES) add('path', path)
  if (entry.target.length > NAME_BYTES) add('linkpath', entry.target)
  if (entry.size > MAX_SIZE) add('size', entry.size)
  if (entry.uid > MAX_ID) add('uid', entry.uid)
  if (entry.gid > MAX_ID) add('gid', entry.gid)
  if (!/^\d{1,10}$/.test(entry.mtime)) add('mtime', entry.mtime)
  for (const [key, value] of [...entry.xattrs].sort(([left], [right]) => (left < right ? -1 : 1))) add(`SCHILY.xattr.${key}`, value)
  return records
}

/** `LENGTH KEY=VALUE\n`; the length counts its own digits. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (length !== rest.length + String(length).length) length = rest.length + String(length).length
  return `${length}${rest}`
}

function ustarHeader(entry: TarEntry, flag: string): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES)
  const octal = (value: number, at: number, length: number) => header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  header.write(storedPath(entry).slice(0, NAME_BYTES), 0, 'latin1')
  octal(entry.mode, 100, 8)
  octal(Math.min(entry.uid, MAX_ID), 108, 8)
  octal(Math.min(entry.gid, MAX_ID), 116, 8)
  octal(Math.min(entry.size, MAX_SIZE), 124, 12)
  octal(Math.max(0, Math.floor(Number(entry.mtime))), 136, 12)
  header.write(' '.repeat(8), 148, 'latin1')
  header.write(flag, 156, 'latin1')
  header.write(entry.target.slice(0, NAME_BYTES), 157, 'latin1')
  header.write('ustar\u000000', 257, 'latin1')
  if (entry.type === 'character' || entry.type === 'block') {
    octal(entry.major, 329, 8)
    octal(entry.minor, 337, 8)
  }
  const checksum = header.reduce((sum, byte) => sum + byte, 0)
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}
