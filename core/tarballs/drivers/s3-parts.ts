import { setMaxListeners } from 'node:events'
import { HakuError } from '../../errors.ts'
import type { S3Bucket, UploadId } from './s3-bucket.ts'

/** The parts of an upload, several under way at once, in bounded memory. The first failure of any is thrown by whatever is called next. */
export interface Parts {
  /** Memory for the next part; waits until there is room. Its length is that of the part, the last may be shorter. */
  allocate(): Promise<Buffer>
  /** Begins to send what {@link allocate} gave, or its beginning. */
  send(part: Buffer): void
  /** The first `length` bytes of another object, copied by the server. `length` is {@link LEAST_PART_BYTES} at least. */
  copy(key: string, length: number): Promise<void>
  /** Waits for all, and checks that the server has so many bytes. Resolves to what completes the upload. */
  settle(bytes: number): Promise<{ PartNumber: number; ETag: string }[]>
  /** Nothing is under way any more when it resolves. Never rejects. */
  stop(): Promise<void>
}

/** S3 takes no smaller part but the last. */
export const LEAST_PART_BYTES = 5 * 1024 ** 2

/**
 * Bytes of the part with this number, from 1. It doubles each 1,000 parts, so that the 10,000 which S3 takes hold 5 TiB: 8 MiB up to 8 GB of tarball, 32 MiB up
 * to 58 GB. Only behind 58 GB a part needs more memory than {@link MEMORY_BYTES} gives, and then it is the only one.
 */
export function partBytes(number: number): number {
  return FIRST_PART_BYTES * 2 ** Math.min(LAST_DOUBLING, Math.floor((number - 1) / PARTS_OF_A_SIZE))
}

/** For one upload that has begun. Whoever does not {@link Parts.settle} must {@link Parts.stop}: parts under way hold memory. */
export function createParts(bucket: S3Bucket, upload: UploadId): Parts {
  const stopping = new AbortController()
  // Each part under way listens.
  setMaxListeners(0, stopping.signal)
  const etags: string[] = []
  const underWay = new Map<Promise<void>, number>()
  let started = 0
  let failure: { reason: unknown } | undefined
  /** Sent, so it may be used again: fresh memory costs more than the upload does. */
  let spare: Buffer | undefined

  function begin(bytes: number, work: (number: number) => Promise<string>): void {
    const index = started
    started += 1
    const running: Promise<void> = work(index + 1)
      .then((etag) => void (etags[index] = etag))
      .catch((reason: unknown) => void (failure ??= { reason }))
      .finally(() => underWay.delete(running))
    underWay.set(running, bytes)
  }
  async function waitUntil(isEnough: (bytesUnderWay: number) => boolean): Promise<void> {
    for (;;) {
      if (failure) throw failure.reason
      if (isEnough([...underWay.values()].reduce((sum, bytes) => sum + bytes, 0))) return
      await Promise.race(underWay.keys())
    }
  }

  return {
    async allocate() {
      const size = partBytes(started + 1)
      await waitUntil((bytes) => bytes === 0 || bytes + size <= MEMORY_BYTES)
      const reused = spare?.length === size ? spare : undefined
      spare = undefined
      return reused ?? Buffer.allocUnsafeSlow(size)
    },
    send(part) {
      begin(part.buffer.byteLength, async (number) => {
        const etag = await bucket.uploadPart(upload, number, part, stopping.signal)
        spare = Buffer.from(part.buffer)
        return etag
      })
    },
    async copy(key, length) {
      for (const { start, end } of copyRanges(length)) {
        await waitUntil(() => underWay.size < COPIES_AT_ONCE)
        begin(0, (number) => bucket.copyPart(upload, number, { key, start, end }, stopping.signal))
      }
    },
    async settle(bytes) {
      await waitUntil(() => underWay.size === 0)
      const found = await bucket.uploadedBytes(upload)
      if (found !== bytes) throw new HakuError('storage.unavailable', `${bucket.where} holds ${found} bytes of ${upload.key} after ${bytes} were written. Check the S3 server.`)
      return etags.map((ETag, index) => ({ PartNumber: index + 1, ETag }))
    },
    async stop() {
      stopping.abort()
      await Promise.all(underWay.keys())
    },
  }
}

/**
 * Pieces of equal size for the server to copy: none is below the least size of a part then. Large enough that a start of 5 TiB takes a fifth of all parts.
 */
export function copyRanges(length: number): { start: number; end: number }[] {
  const count = Math.ceil(length / Math.max(COPY_BYTES, length / MOST_COPIES))
  const size = Math.ceil(length / count)
  return Array.from({ length: count }, (_, index) => ({ start: index * size, end: Math.min(length, (index + 1) * size) }))
}

// --- internal ---

const FIRST_PART_BYTES = 8 * 1024 ** 2
const PARTS_OF_A_SIZE = 1000
/** 2 GiB, the most that a request can take here. */
const LAST_DOUBLING = 8
/** The part that is being filled, and those under way. */
const MEMORY_BYTES = 48 * 1024 ** 2
const COPY_BYTES = 256 * 1024 ** 2
const MOST_COPIES = 2000
const COPIES_AT_ONCE = 4
