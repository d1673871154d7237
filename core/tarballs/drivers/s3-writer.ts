import { HakuError, isHakuError } from '../../errors.ts'
import { createId } from '../../ids.ts'
import type { CopiedStart, FileKeys, StreamedFile } from '../driver.ts'
import type { S3Bucket, UploadId } from './s3-bucket.ts'
import { commitUpload, commitValue } from './s3-commit.ts'
import { discardS3File } from './s3-discard.ts'
import { createParts, LEAST_PART_BYTES, type Parts, partBytes } from './s3-parts.ts'
import { openS3Object } from './s3-reader.ts'

export interface S3FileOptions {
  bucket: S3Bucket
  keys: FileKeys
  start: CopiedStart | undefined
  /** Whether the server keeps `If-None-Match` when it completes an upload; {@link commitUpload} does without. */
  conditionalComplete: boolean
}

/**
 * A new object. Up to the size of one part it stays in memory, and is an object under its temporary key once it is finished. A larger one is an upload of parts for
 * the final key from the beginning, which S3 shows to nobody; a marker under the temporary key tells which upload it is, for {@link discardS3File}.
 */
export async function createS3File({ bucket, keys, start, conditionalComplete }: S3FileOptions): Promise<StreamedFile> {
  const writer = createId()
  let position = 0
  let part: Buffer | undefined = Buffer.allocUnsafeSlow(partBytes(1))
  let filled = 0
  let large: { upload: UploadId; parts: Parts } | undefined
  /** All of the upload, once it is finished. */
  let completing: { PartNumber: number; ETag: string }[] = []
  let isAborted = false
  /** One after another; after a failure nothing more. */
  let tail = Promise.resolve()
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    tail = tail.then(() => {
      if (isAborted) throw new HakuError('internal.error', `${keys.final} was given up and is written to all the same`)
      return work()
    })
    // Whoever called hears of it.
    tail.catch(() => undefined)
    return tail
  }

  const mark = (upload?: string) => bucket.put(keys.temporary, NOTHING, { kind: 'marker', writer, final: keys.final, upload })
  async function becomeLarge(): Promise<Parts> {
    if (large) return large.parts
    const upload = await bucket.createUpload(keys.final, { kind: 'value', writer })
    large = { upload, parts: createParts(bucket, upload) }
    await mark(upload.id)
    return large.parts
  }
  async function append(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      // Sent only when more comes: a value of exactly one part stays small, and no last part is empty.
      if (part && filled === part.length) await ship(part)
      part ??= await (await becomeLarge()).allocate()
      const piece = chunk.subarray(at, at + part.length - filled)
      part.set(piece, filled)
      filled += piece.length
      at += piece.length
    }
  }
  async function ship(full: Buffer): Promise<void> {
    const parts = await becomeLarge()
    parts.send(full.subarray(0, filled))
    part = undefined
    filled = 0
  }
  async function copyStart({ key, length }: CopiedStart): Promise<void> {
    const source = await bucket.head(key)
    if (!source || source.note.kind === 'claim') throw new HakuError('tarball.not_found', `${key} is not in ${bucket.where}. Was it removed?`)
    if (source.size < length) throw new HakuError('tarball.damaged', `${key} was cut: ${length} bytes expected, ${source.size} found. Package the environment again.`)
    if (length < LEAST_PART_BYTES) {
      for await (const chunk of await openS3Object(bucket, key, { start: 0, end: length })) await append(chunk as Buffer)
    } else {
      await (await becomeLarge()).copy(key, length)
    }
    position = length
  }

  async function abort(): Promise<void> {
    isAborted = true
    // What waits for parts under way goes on only once they are stopped, and may begin some itself.
    await large?.parts.stop()
    await tail.catch(() => undefined)
    await large?.parts.stop()
    part = undefined
    try {
      // The marker may be gone, or never have come so far as to name it.
      if (large) await bucket.abortUpload(large.upload)
      await discardS3File(bucket, keys.temporary)
    } catch (error) {
      // What can not be removed now is litter for the next sweep.
      if (!isHakuError(error, 'storage.unavailable')) throw error
    }
  }

  await mark()
  try {
    if (start) await copyStart(start)
  } catch (error) {
    // The first error is the one to tell; what stays is litter for the next sweep.
    await abort().catch(() => undefined)
    throw error
  }

  return {
    get position() {
      return position
    },
    write(chunk) {
      position += chunk.length
      return inTurn(() => append(chunk))
    },
    finish: () =>
      inTurn(async () => {
        const rest = part?.subarray(0, filled) ?? NOTHING
        if (!large) return void (await bucket.put(keys.temporary, rest, { kind: 'value', writer }))
        if (rest.length > 0 && part) await ship(part)
        completing = await large.parts.settle(position)
      }),
    commit: () =>
      inTurn(async () => {
        const committing = { bucket, key: keys.final, writer }
        if (large) await commitUpload({ ...committing, upload: large.upload, parts: completing, conditionalComplete })
        else await commitValue(committing, part?.subarray(0, filled) ?? NOTHING)
        part = undefined
        // What stays is litter and no failure: the next sweep takes it.
        await (large ? discardS3File(bucket, keys.temporary) : bucket.remove(keys.temporary)).catch(() => undefined)
      }),
    abort,
  }
}

// --- internal ---

const NOTHING = new Uint8Array(0)
