import { Readable } from 'node:stream'
import type { CompletedPart, S3, S3ClientConfig } from '@aws-sdk/client-s3'
import { HakuError } from '../../errors.ts'
import { quote } from '../../names.ts'
import { codeOf, describePlace, s3Error, statusOf } from './s3-errors.ts'
import { noteOf, type ObjectNote, toMetadata } from './s3-notes.ts'
import type { S3Place } from './s3-url.ts'

export interface S3Options extends S3Place {
  /** Empty: AWS. */
  endpoint: string
  region: string
  /** The bucket stands in the path, not in the name of the host. */
  pathStyle: boolean
  credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
  /** How often each request is tried. @default 4 */
  attempts?: number
}

/** What became of a write with a condition: `exists` – another object has the key; `conflict` – somebody was at it at the same moment. */
export type Outcome = 'done' | 'exists' | 'conflict'

/** An upload of parts; it is visible to nobody before it is completed. */
export interface UploadId {
  /** Under which the whole is found then. */
  key: string
  id: string
}

export interface FoundObject {
  size: number
  note: ObjectNote
}

/** One answer to a read. `size` is that of the whole object; `body` ends early when the connection does. */
export interface OpenedObject extends FoundObject {
  body: Readable
  etag: string | undefined
}

/** Byte range of a read, and of which object: a key that got another one since gives `undefined`. */
export interface ReadOptions {
  start: number
  /** Exclusive; left out: to the end. */
  end?: number | undefined
  etag?: string | undefined
  signal?: AbortSignal
}

/**
 * The one door to S3: keys are plain names below the prefix, errors are ours ({@link s3Error}), transient failures were tried again. Every
 * method MUST throw `storage.unavailable` when the bucket is not there.
 */
export type S3Bucket = Awaited<ReturnType<typeof openS3Bucket>>

/** Nothing is asked yet. The SDK is loaded here, because a Host without S3 should not pay for it. */
export async function openS3Bucket(options: S3Options) {
  const { bucket, prefix } = options
  const sdk = await loadSdk()
  const client: S3 = new sdk.S3(clientConfig(options))
  const where = describePlace(options)
  const full = (key: string) => ({ Bucket: bucket, Key: `${prefix}${assertKey(key)}` })
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw s3Error(error, options)
    }
  }
  /** The other answer for an error that is one of these. */
  const attemptOr = <T, U>(work: () => Promise<T>, isExpected: (error: unknown) => boolean, other: (error: unknown) => U | Promise<U>): Promise<T | U> =>
    attempt(async () => {
      try {
        return await work()
      } catch (error) {
        if (!isExpected(error)) throw error
        return other(error)
      }
    })
  const conditionally = (work: () => Promise<unknown>, isConditional: boolean) =>
    attemptOr<Outcome, Outcome>(() => work().then(() => 'done'), (error) => isConditional && CONDITION_STATUS.has(statusOf(error) ?? 0), (error) => (statusOf(error) === 412 ? 'exists' : 'conflict'))
  const assertThere = () => attemptOr(() => client.headBucket({ Bucket: bucket }), (error) => statusOf(error) === 404, () => {
    throw s3Error({ Code: 'NoSuchBucket', $metadata: { httpStatusCode: 404 } }, options)
  })

  return {
    /** For messages. */
    where,
    async assertThere(): Promise<void> {
      await assertThere()
    },
    /** A HEAD of a missing bucket answers as of a missing key, so the bucket is asked then. */
    head: (key: string) =>
      attemptOr<FoundObject, undefined>(async () => toFound(await client.headObject(full(key))), (error) => statusOf(error) === 404, async () => void (await assertThere())),
    /** `undefined` if it is not there, or not the one of that ETag. A range that begins behind the end has an empty body. */
    read: (key: string, { start, end, etag, signal }: ReadOptions) =>
      attemptOr<OpenedObject, OpenedObject | undefined>(
        async () => {
          const isWhole = start === 0 && end === undefined
          const range = isWhole ? {} : { Range: `bytes=${start}-${end === undefined ? '' : end - 1}` }
          const answer = await client.getObject({ ...full(key), ...range, ...(etag && { IfMatch: etag }) }, signal && { abortSignal: signal })
          if (!(answer.Body instanceof Readable)) throw new HakuError('storage.unavailable', `${where} answered a read without content`)
          const total = /\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1]
          return { body: answer.Body, size: total === undefined ? (answer.ContentLength ?? 0) : Number(total), note: noteOf(answer.Metadata), etag: answer.ETag }
        },
        (error) => codeOf(error) === 'NoSuchKey' || [412, 416].includes(statusOf(error) ?? 0),
        async (error) => {
          if (statusOf(error) !== 416) return undefined
          const found = await client.headObject(full(key))
          return { ...toFound(found), body: Readable.from([]), etag: found.ETag }
        },
      ),
    list: (start: string) =>
      attempt(async () => {
        const found: { key: string; size: number }[] = []
        for (let token: string | undefined; ; ) {
          const page = await client.listObjectsV2({ Bucket: bucket, Prefix: `${prefix}${start}`, Delimiter: '/', ...(token && { ContinuationToken: token }) })
          for (const { Key = '', Size = 0 } of page.Contents ?? []) found.push({ key: Key.slice(prefix.length), size: Size })
          token = page.NextContinuationToken
          if (!page.IsTruncated || !token) return found.filter(({ key }) => KEY_RE.test(key))
        }
      }),
    /** `ifAbsent`: only if the key is free. */
    put: (key: string, body: Uint8Array, note: ObjectNote, { ifAbsent = false } = {}) =>
      conditionally(() => client.putObject({ ...full(key), Body: body, Metadata: toMetadata(note), ...(ifAbsent && { IfNoneMatch: '*' }) }), ifAbsent),
    /** Idempotent. */
    remove: (key: string) => attemptOr(async () => void (await client.deleteObject(full(key))), (error) => codeOf(error) === 'NoSuchKey', () => undefined),

    createUpload: (key: string, note: ObjectNote): Promise<UploadId> =>
      attempt(async () => {
        const { UploadId } = await client.createMultipartUpload({ ...full(key), Metadata: toMetadata(note) })
        if (!UploadId) throw new HakuError('storage.unavailable', `${where} began an upload and gave it no id`)
        return { key, id: UploadId }
      }),
    /** Resolves to the ETag of the part. */
    uploadPart: ({ key, id }: UploadId, number: number, body: Uint8Array, signal: AbortSignal) =>
      attempt(async () => (await client.uploadPart({ ...full(key), UploadId: id, PartNumber: number, Body: body }, { abortSignal: signal })).ETag ?? ''),
    /** A part that the server copies: `start` to `end` (exclusive) of another object. */
    copyPart: ({ key, id }: UploadId, number: number, source: { key: string; start: number; end: number }, signal: AbortSignal) =>
      attempt(async () => {
        const from = { CopySource: `${bucket}/${full(source.key).Key.split('/').map(encodeURIComponent).join('/')}`, CopySourceRange: `bytes=${source.start}-${source.end - 1}` }
        return (await client.uploadPartCopy({ ...full(key), UploadId: id, PartNumber: number, ...from }, { abortSignal: signal })).CopyPartResult?.ETag ?? ''
      }),
    /** Bytes of all parts that the server holds. */
    uploadedBytes: ({ key, id }: UploadId) =>
      attempt(async () => {
        // The SDK's own paging asks for ever where a server names a next page after the last.
        for (let bytes = 0, marker: string | undefined; ; ) {
          const { Parts = [], IsTruncated, NextPartNumberMarker } = await client.listParts({ ...full(key), UploadId: id, ...(marker && { PartNumberMarker: marker }) })
          for (const { Size = 0 } of Parts) bytes += Size
          if (!IsTruncated || NextPartNumberMarker === marker) return bytes
          marker = NextPartNumberMarker
        }
      }),
    completeUpload: ({ key, id }: UploadId, parts: CompletedPart[], { ifAbsent = false } = {}) =>
      conditionally(() => client.completeMultipartUpload({ ...full(key), UploadId: id, MultipartUpload: { Parts: parts }, ...(ifAbsent && { IfNoneMatch: '*' }) }), ifAbsent),
    /** Those for this very key that are neither completed nor aborted. */
    listUploads: (key: string) =>
      attempt(async () => {
        const { Uploads = [] } = await client.listMultipartUploads({ Bucket: bucket, Prefix: full(key).Key })
        return Uploads.flatMap<UploadId>(({ Key, UploadId }) => (Key === full(key).Key && UploadId ? [{ key, id: UploadId }] : []))
      }),
    /** Idempotent. */
    abortUpload: ({ key, id }: UploadId) => attemptOr(async () => void (await client.abortMultipartUpload({ ...full(key), UploadId: id })), (error) => codeOf(error) === 'NoSuchUpload', () => undefined),
    close: () => client.destroy(),
  }
}

// --- internal ---

const KEY_RE = /^[A-Za-z0-9._+-]{1,255}$/
const CONDITION_STATUS = new Set([409, 412])
const CONNECT_MS = 5000
/** Of silence. A server that copies a part says nothing meanwhile. */
const SILENCE_MS = 60_000
const ATTEMPTS = 4

async function loadSdk() {
  // It tells at each start that some later version of it will want a newer Node: nothing that a user could act on.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  return import('@aws-sdk/client-s3')
}

function clientConfig({ endpoint, region, pathStyle, credentials, attempts = ATTEMPTS }: S3Options): S3ClientConfig {
  return {
    region,
    credentials,
    ...(endpoint && { endpoint }),
    forcePathStyle: pathStyle,
    maxAttempts: attempts,
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: SILENCE_MS },
    // Servers before 2025 do not know the newer checksums. The signature covers the content of what we send, the archive's digests that of what we get.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  }
}

function assertKey(key: string): string {
  if (!KEY_RE.test(key) || key === '.' || key === '..') throw new HakuError('internal.error', `${quote(key)} can not be a key on the shared storage`)
  return key
}

function toFound({ ContentLength = 0, Metadata }: { ContentLength?: number | undefined; Metadata?: Record<string, string> | undefined }): FoundObject {
  return { size: ContentLength, note: noteOf(Metadata) }
}
