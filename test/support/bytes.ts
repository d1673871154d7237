import { createHash } from 'node:crypto'

/** As images name what they are made of. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Bytes of which no two pieces are alike, so that a swap or a shift shows; another `seed`, other bytes. */
export function patterned(size: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32LE((at + seed) >>> 0, at)
  return bytes
}
