import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { HakuError, isHakuError } from '../../errors.ts'
import type { ByteRange } from '../store.ts'
import type { OpenedObject, S3Bucket } from './s3-bucket.ts'

/**
 * Streams an object, or a range of it, holding what the socket gives. A connection that breaks is opened again at the position reached, as long
 * as the object is the same. One that ends before the range does fails with `tarball.damaged`.
 *
 * @throws `tarball.not_found`
 */
export async function openS3Object(bucket: S3Bucket, key: string, range?: ByteRange): Promise<Readable> {
  const stopping = new AbortController()
  const start = range?.start ?? 0
  // An empty range can not be asked for; one byte tells whether the object is there.
  const first = await bucket.read(key, { start, end: range && Math.max(range.end, start + 1), signal: stopping.signal })
  if (!first || first.note.kind === 'claim') {
    first?.body.destroy()
    throw notFound(key, bucket.where)
  }
  return streamObject({ bucket, key, first, start, end: range?.end ?? first.size, stopping })
}

// --- internal ---

const RETRIES = 5
const FIRST_DELAY_MS = 100

interface ObjectSlice {
  bucket: S3Bucket
  key: string
  /** The answer to the first read. */
  first: OpenedObject
  start: number
  end: number
  stopping: AbortController
}

function streamObject({ bucket, key, first, start, end, stopping }: ObjectSlice): Readable {
  const { signal } = stopping
  const available = Math.min(end, first.size)
  let position = start
  let open: OpenedBody | undefined = openBody(first.body)
  /** Without a byte between them. */
  let failures = 0

  async function next(): Promise<Buffer | null> {
    while (position < available) {
      try {
        open ??= await reopen()
        const { value, done } = await open.chunks.next()
        if (done) throw new HakuError('storage.unavailable', `${bucket.where} ended ${key} early, at byte ${position}. Try again.`)
        const chunk = value.subarray(0, available - position)
        position += chunk.length
        failures = 0
        return chunk
      } catch (error) {
        await recover(error)
      }
    }
    if (position < end) throw new HakuError('tarball.damaged', `${key} was cut: ${end} bytes expected, ${first.size} found. Package the environment again.`)
    return null
  }

  async function reopen(): Promise<OpenedBody> {
    const again = await bucket.read(key, { start: position, end: available, etag: first.etag, signal })
    if (!again) throw new HakuError('tarball.not_found', `${key} was removed from ${bucket.where}, or replaced, while it was read.`)
    return openBody(again.body)
  }

  /** Waits before the next try, or throws because there is none. */
  async function recover(cause: unknown): Promise<void> {
    open?.body.destroy()
    open = undefined
    failures += 1
    if (signal.aborted || (isHakuError(cause) && cause.code !== 'storage.unavailable')) throw cause
    if (failures > RETRIES) throw isHakuError(cause) ? cause : new HakuError('storage.unavailable', `The connection to ${bucket.where} breaks again and again while ${key} is read, at byte ${position}.`, { cause })
    if (failures > 1) await delay(FIRST_DELAY_MS * 2 ** (failures - 2), undefined, { signal })
  }

  return new Readable({
    read() {
      next().then(
        (chunk) => this.push(chunk),
        (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
      )
    },
    destroy(error, callback) {
      stopping.abort()
      open?.body.destroy()
      callback(error)
    },
  })
}

interface OpenedBody {
  body: Readable
  chunks: AsyncIterator<Buffer, undefined>
}

function openBody(body: Readable): OpenedBody {
  // It may break before somebody reads, and then nobody would listen. The iterator tells it again.
  body.on('error', () => undefined)
  return { body, chunks: body[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined> }
}

function notFound(key: string, where: string): HakuError {
  return new HakuError('tarball.not_found', `${key} is not in ${where}. Was it removed? "hakuriver.docker list-tars" shows what there is.`)
}
