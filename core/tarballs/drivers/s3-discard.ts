import { TEMPORARY_PREFIX } from '../../paths.ts'
import type { S3Bucket, UploadId } from './s3-bucket.ts'
import type { ObjectNote } from './s3-notes.ts'

/**
 * Removes what is left of a value that was being written, by a process that died or by this one: the object under the temporary key, the upload that it tells of, and the
 * claim on the final key. Idempotent.
 */
export async function discardS3File(bucket: S3Bucket, temporaryKey: string): Promise<void> {
  const { note } = (await bucket.head(temporaryKey)) ?? {}
  if (note?.kind === 'marker' && note.final) await discardMarked(bucket, temporaryKey, note.final, note)
  await bucket.remove(temporaryKey)
}

// --- internal ---

async function discardMarked(bucket: S3Bucket, temporaryKey: string, key: string, { upload, writer }: ObjectNote): Promise<void> {
  if (upload) await bucket.abortUpload({ key, id: upload })
  // Keys without the right to list uploads can do all else.
  for (const lost of await findLostUploads(bucket, temporaryKey, key).catch(() => [])) await bucket.abortUpload(lost)
  const final = await bucket.head(key)
  if (final?.note.kind === 'claim' && final.note.writer === writer) await bucket.remove(key)
}

/**
 * Uploads for a key that no marker names: the answer that told their id was lost, and the request repeated. With another writer of the same key who has not marked his yet,
 * nobody could tell whose they are, so they stay.
 */
async function findLostUploads(bucket: S3Bucket, temporaryKey: string, key: string): Promise<UploadId[]> {
  const uploads = await bucket.listUploads(key)
  if (uploads.length === 0) return []
  const others = (await bucket.list(TEMPORARY_PREFIX)).filter((entry) => entry.key !== temporaryKey && entry.key.endsWith(`-${key}`))
  const notes = (await Promise.all(others.map((entry) => bucket.head(entry.key)))).flatMap((found) => (found?.note.kind === 'marker' ? [found.note] : []))
  if (notes.some((note) => note.upload === undefined)) return []
  return uploads.filter(({ id }) => notes.every((note) => note.upload !== id))
}
