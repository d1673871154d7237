import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { HakuError } from '../errors.ts'
import type { VersionManifest } from './manifest.ts'
import type { TarballEntry, TarballStore } from './store.ts'

/** Held back until the digest is right. An Engine takes nothing from an archive that does not end. */
const HELD_BYTES = 64 * 1024

/**
 * A tarball for loading, checked on the way: its last bytes only come once size and digest of the whole are those of the
 * manifest. Otherwise the stream fails with `tarball.damaged`, and the Engine loads nothing. A tarball without a manifest
 * is checked for its size alone.
 *
 * @throws `tarball.not_found`, `tarball.damaged` (by its size, before the first byte)
 */
export async function openVerified(store: TarballStore, entry: TarballEntry, manifest: VersionManifest | undefined, onProgress?: (bytes: number) => void): Promise<Readable> {
  const source = await store.read(entry.environment, entry.version)
  return Readable.from(verify(source, entry, manifest, onProgress), { objectMode: false })
}

// --- internal ---

async function* verify(source: Readable, entry: TarballEntry, manifest: VersionManifest | undefined, onProgress?: (bytes: number) => void): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  let held: Buffer = Buffer.alloc(0)
  let length = 0
  for await (const chunk of source as AsyncIterable<Buffer>) {
    hash.update(chunk)
    length += chunk.length
    onProgress?.(length)
    if (held.length > 0) yield held
    const keep = Math.min(chunk.length, HELD_BYTES)
    if (chunk.length > keep) yield chunk.subarray(0, -keep)
    held = chunk.subarray(chunk.length - keep)
  }
  assertSame(entry, 'bytes', manifest?.size ?? entry.size, length)
  if (manifest) assertSame(entry, 'sha256', manifest.sha256, hash.digest('hex'))
  yield held
}

function assertSame(entry: TarballEntry, what: string, expected: string | number, found: string | number): void {
  if (expected === found) return
  throw new HakuError('tarball.damaged', `${entry.fileName} is damaged: its manifest says ${what} ${expected}, found ${found}. Nothing was loaded. Package the environment again.`)
}
