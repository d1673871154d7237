/** Bytes of a tar block. */
export const BLOCK_BYTES = 512
/** Octal digits of the size field hold no more; beyond it the size is written in base 256 (GNU). */
const MAX_OCTAL_SIZE = 8 ** 11 - 1

/**
 * The header of a regular file (POSIX.1-1988 ustar, with GNU's base-256 sizes). Owner root, mode 0644, time zero: the same
 * content always gives the same archive.
 *
 * @param name at most 100 bytes of ASCII
 * @param size bytes of the content
 */
export function encodeHeader(name: string, size: number): Buffer {
  if (Buffer.byteLength(name) > 100) throw new RangeError(`${name} is too long for a tar header`)
  const header = Buffer.alloc(BLOCK_BYTES)
  header.write(name, 0)
  header.write('0000644\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  writeSize(header, size)
  header.write('00000000000\0', 136)
  header.write(' '.repeat(8), 148)
  header.write('0', 156)
  header.write('ustar\u000000', 257)
  const checksum = header.reduce((sum, byte) => sum + byte, 0)
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** The zeros that fill the last block of `size` bytes. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES)
}

// --- internal ---

function writeSize(header: Buffer, size: number): void {
  if (size <= MAX_OCTAL_SIZE) {
    header.write(`${size.toString(8).padStart(11, '0')}\0`, 124)
    return
  }
  header.writeBigUInt64BE(BigInt(size), 128)
  header[124] = 0x80
}
