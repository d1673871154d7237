import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { Readable } from 'node:stream'
import { HakuError, systemErrorCode } from '../../errors.ts'
import { storageError } from './file-system-errors.ts'

const READ_BYTES = 256 * 1024
const STALE_RETRIES = 3

/** A slice of a file: `start` inclusive, `end` exclusive. */
export interface FileSlice {
  path: string
  /** The stream closes it. Left out: the stream opens the file itself. */
  handle?: FileHandle
  start: number
  end: number
}

/** Opens for reading. An NFS client that remembers what is no longer so on the server answers ESTALE; the next open looks anew. */
export async function openFresh(path: string): Promise<FileHandle> {
  for (let retry = 0; ; retry += 1) {
    try {
      return await open(path, 'r')
    } catch (error) {
      if (systemErrorCode(error) !== 'ESTALE' || retry === STALE_RETRIES) throw error
    }
  }
}

/**
 * Streams a slice, holding one chunk in memory. A file that ends before the slice does fails with `tarball.damaged`, and what
 * the file system reports with an error of ours, where Node's own stream would end early or hand on bare system errors.
 */
export function streamFile({ path, handle: given, start, end }: FileSlice): Readable {
  let handle = given
  let position = start
  const toOurs = (error: unknown) => toError(storageError(error, { directory: dirname(path), file: path }))

  async function next(): Promise<Buffer | null> {
    const wanted = Math.min(READ_BYTES, end - position)
    if (wanted <= 0) return null
    const chunk = Buffer.allocUnsafe(wanted)
    const bytesRead = await readAt(chunk)
    if (bytesRead === 0) throw endedEarly(path, end, position)
    position += bytesRead
    return chunk.subarray(0, bytesRead)
  }
  async function readAt(chunk: Buffer): Promise<number> {
    for (let retry = 0; ; retry += 1) {
      try {
        handle ??= await openFresh(path).catch((error: unknown) => {
          throw systemErrorCode(error) === 'ENOENT' ? removed(path, error) : error
        })
        return (await handle.read(chunk, 0, chunk.length, position)).bytesRead
      } catch (error) {
        if (systemErrorCode(error) !== 'ESTALE' || retry === STALE_RETRIES) throw error
        const stale = handle
        handle = undefined
        await stale?.close().catch(() => undefined)
      }
    }
  }

  return new Readable({
    highWaterMark: READ_BYTES,
    read() {
      next().then(
        (chunk) => this.push(chunk),
        (error: unknown) => this.destroy(toOurs(error)),
      )
    },
    async destroy(error, callback) {
      const closing = await handle?.close().catch(toOurs)
      callback(error ?? closing ?? null)
    },
  })
}

// --- internal ---

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function removed(path: string, cause: unknown): HakuError {
  return new HakuError('tarball.not_found', `${basename(path)} was removed while it was read, or its storage was unmounted. "hakuriver.docker list-tars" shows what there is.`, { cause })
}

function endedEarly(path: string, expected: number, found: number): HakuError {
  return new HakuError('tarball.damaged', `${basename(path)} was cut: ${expected} bytes expected, ${found} found. Package the environment again.`)
}
