import { buffer } from 'node:stream/consumers'
import { HakuError } from '../../errors.ts'
import { createId } from '../../ids.ts'
import { temporaryPrefix } from '../../paths.ts'
import type { Outcome, S3Bucket } from './s3-bucket.ts'
import { openS3Object } from './s3-reader.ts'

export interface S3Abilities {
  /** Whether `If-None-Match` holds on completing an upload too, and not only on a PUT. */
  conditionalComplete: boolean
}

/**
 * Tries on small objects what publishing leans on: conditions, metadata, listing, ranges. What calls itself S3 often is not (see `docs/storage-format.md`), and a server that
 * overlooks a condition says nothing about it.
 *
 * @throws `storage.unavailable` if versions would not be safe there
 */
export async function probeS3(bucket: S3Bucket, ownerId: string): Promise<S3Abilities> {
  const key = `${temporaryPrefix(ownerId)}${createId()}-probe`
  try {
    await probeConditions(bucket, key)
    await probeReading(bucket, key)
    const abilities = { conditionalComplete: await keepsConditionOnCompletion(bucket, key) }
    await bucket.remove(key)
    return abilities
  } catch (error) {
    // The first error is the one to tell; what stays is litter for the next sweep.
    await bucket.remove(key).catch(() => undefined)
    throw error
  }
}

// --- internal ---

const CONTENT = Buffer.from('0123456789')
const AT_ONCE = 3

/** Several at once, and one that comes late. */
async function probeConditions(bucket: S3Bucket, key: string): Promise<void> {
  const put = () => bucket.put(key, CONTENT, { kind: 'value', writer: key }, { ifAbsent: true })
  const outcomes = await Promise.all(Array.from({ length: AT_ONCE }, put))
  if (outcomes.every((outcome) => outcome !== 'done')) throw unfit(bucket, `it refused the first write of a new key as if it were there (${answers(outcomes)})`)
  outcomes.push(await put())
  if (outcomes.filter((outcome) => outcome === 'done').length > 1) throw unfit(bucket, `it answered ${outcomes.length} writes of one key, each with If-None-Match: *, by ${answers(outcomes)}`)
}

async function probeReading(bucket: S3Bucket, key: string): Promise<void> {
  const found = await bucket.head(key)
  if (found?.size !== CONTENT.length) throw unfit(bucket, `an object of ${CONTENT.length} bytes has ${found?.size ?? 'none'} after it was written`)
  if (found.note.writer !== key) throw unfit(bucket, 'it loses the metadata of an object (x-amz-meta-…)')
  if (!(await bucket.list(key)).some((entry) => entry.key === key)) throw unfit(bucket, 'its listing lacks an object that was just written')
  const range = await buffer(await openS3Object(bucket, key, { start: 2, end: 5 }))
  if (!range.equals(CONTENT.subarray(2, 5))) throw unfit(bucket, 'it answers the read of a range with something else')
}

/** The key is taken. What overlooks the condition replaces it, silently. */
async function keepsConditionOnCompletion(bucket: S3Bucket, key: string): Promise<boolean> {
  const upload = await bucket.createUpload(key, { kind: 'value', writer: `${key}-2` })
  try {
    const etag = await bucket.uploadPart(upload, 1, CONTENT, new AbortController().signal)
    // Some refuse the condition itself.
    const outcome = await bucket.completeUpload(upload, [{ PartNumber: 1, ETag: etag }], { ifAbsent: true }).catch(() => undefined)
    return outcome === 'exists'
  } finally {
    await bucket.abortUpload(upload)
  }
}

function answers(outcomes: Outcome[]): string {
  return outcomes.map((outcome) => ({ done: '200 (written)', exists: '412 (refused)', conflict: '409 (conflict)' })[outcome]).join(', ')
}

function unfit({ where }: S3Bucket, what: string): HakuError {
  return new HakuError('storage.unavailable', `${where[0]?.toUpperCase()}${where.slice(1)} is not safe for tarballs: ${what}. Two Hosts could overwrite one another's versions there. Use a server that keeps conditional writes (If-None-Match), or a directory: leave storage.url empty.`)
}
