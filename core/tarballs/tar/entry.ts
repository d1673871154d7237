export type TarEntryType = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo'

/**
 * An entry of a tar archive, by everything that a layer may say of it.
 *
 * Names are bytes and no text on Linux: every string here is latin1, one character for each byte, which keeps, compares and sorts them
 * exactly.
 */
export interface TarEntry {
  /** Without `./` or `/` in front and `/` behind; empty for the root itself. */
  path: string
  type: TarEntryType
  /** Permission bits with setuid, setgid and sticky. */
  mode: number
  uid: number
  gid: number
  /** Bytes of the content that follows; 0 unless it is a file. */
  size: number
  /** Seconds since 1970 in decimal, with as many digits behind the point as are known. */
  mtime: string
  /** Of a symlink as it is; of a hard link like `path`. Empty otherwise. */
  target: string
  major: number
  minor: number
  xattrs: ReadonlyMap<string, string>
}

/** Bytes of a tar block. */
export const BLOCK_BYTES = 512

/** What ends an archive. */
export const END_OF_ARCHIVE = Buffer.alloc(2 * BLOCK_BYTES)

/** Zeros that fill the last block of `size` bytes. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES)
}

/** Bytes that a file of `size` bytes takes with its padding. */
export function paddedSize(size: number): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES
}
