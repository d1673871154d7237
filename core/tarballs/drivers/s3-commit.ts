import { setTimeout as delay } from 'node:timers/promises'
import { HakuError } from '../../errors.ts'
import type { FoundObject, Outcome, S3Bucket, UploadId } from './s3-bucket.ts'

/** An object that is to get its final key, if that is free. */
export interface Committing {
  bucket: S3Bucket
  key: string
  /** Stands in the metadata of our object, so that we recognise it when an answer was lost. */
  writer: string
}

export interface CommittingUpload extends Committing {
  upload: UploadId
  parts: { PartNumber: number; ETag: string }[]
  conditionalComplete: boolean
}

/** @throws `environment.busy` if another object has the key */
export async function commitValue(committing: Committing, body: Uint8Array): Promise<void> {
  await putNew(committing, body, 'value')
}

/**
 * Completes an upload of parts. Many servers (Ceph among them) have conditions for a PUT only, and on completion silently replace what is there. On these the key is
 * claimed first, by a PUT of an empty object which the driver shows to nobody.
 *
 * @throws `environment.busy` if another object has the key
 */
export async function commitUpload(committing: CommittingUpload): Promise<void> {
  const { bucket, key, writer, upload, parts, conditionalComplete } = committing
  if (!conditionalComplete) await putNew(committing, new Uint8Array(0), 'claim')
  try {
    const outcome = await bucket.completeUpload(upload, parts, { ifAbsent: conditionalComplete })
    if (outcome === 'done') return
    await assertOurs(committing, outcome)
  } catch (error) {
    // Without its upload nothing that is still under way can put it there any more: what we see then is final.
    await bucket.abortUpload(upload).catch(() => undefined)
    const found = await bucket.head(key).catch(() => undefined)
    if (isOurs(found, writer)) return
    if (isClaim(found, writer)) await bucket.remove(key).catch(() => undefined)
    throw error
  }
}

// --- internal ---

const CONFLICT_RETRIES = 5
const CONFLICT_DELAY_MS = 200

/** A PUT that replaces nothing. An answer may be lost and the request repeated: the object that is found then may be our own. */
async function putNew(committing: Committing, body: Uint8Array, kind: 'value' | 'claim'): Promise<void> {
  const { bucket, key, writer } = committing
  const isThere = (found: FoundObject | undefined) => (kind === 'value' ? isOurs(found, writer) : isOurs(found, writer) || isClaim(found, writer))
  for (let retry = 0; ; retry += 1) {
    try {
      const outcome = await bucket.put(key, body, { kind, writer }, { ifAbsent: true })
      if (outcome === 'done') return
      const found = await bucket.head(key)
      if (isThere(found)) return
      // Somebody was at the key at the same moment, and has left it free again.
      if (found || outcome === 'exists' || retry === CONFLICT_RETRIES) throw exists(committing)
    } catch (error) {
      if (error instanceof HakuError && error.code === 'environment.busy') throw error
      if (isThere(await bucket.head(key).catch(() => undefined))) return
      throw error
    }
    await delay(CONFLICT_DELAY_MS)
  }
}

/** After a conflict S3 wants the whole upload anew, and what was uploaded is gone. */
async function assertOurs(committing: CommittingUpload, outcome: Exclude<Outcome, 'done'>): Promise<void> {
  const found = await committing.bucket.head(committing.key)
  if (isOurs(found, committing.writer)) return
  if (found || outcome === 'exists') throw exists(committing)
  throw new HakuError('environment.busy', `${committing.bucket.where} refused ${committing.key} because something else was done to this key at the same moment. Package the environment again.`)
}

function isOurs(found: FoundObject | undefined, writer: string): boolean {
  return found?.note.kind === 'value' && found.note.writer === writer
}

function isClaim(found: FoundObject | undefined, writer: string): boolean {
  return found?.note.kind === 'claim' && found.note.writer === writer
}

function exists({ bucket, key }: Committing): HakuError {
  return new HakuError('environment.busy', `${key} exists already in ${bucket.where}. Does another Host write there too?`)
}
