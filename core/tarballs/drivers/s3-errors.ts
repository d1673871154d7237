import { errorMessage, HakuError, systemErrorCode } from '../../errors.ts'

/** Whom we asked, for messages. */
export interface S3Location {
  bucket: string
  /** Empty: AWS. */
  endpoint: string
  region: string
}

/**
 * What an S3 server or the way to it said, in the words of the storage: `storage.full` or `storage.unavailable`, with place and cure. What
 * is neither stays as it is. The error of the SDK is not handed on: it may repeat the headers of the request, a session token among them.
 */
export function s3Error(error: unknown, location: S3Location): unknown {
  if (error instanceof HakuError) return error
  const failure = readFailure(error)
  if (!failure) return error
  const { code, status } = failure
  const cause = new Error(`${code}${status === undefined ? '' : ` (HTTP ${status})`}`)
  const where = describePlace(location)
  if (FULL.has(code) || status === 507) return new HakuError('storage.full', `The shared storage, ${where}, is full (${code}). Make room or raise its quota and try again; nothing of what was there has changed.`, { cause })
  return new HakuError('storage.unavailable', `The shared storage, ${where}, can not be used: ${describe(failure)}`, { cause })
}

/** `the S3 bucket lab at http://…` */
export function describePlace({ bucket, endpoint, region }: S3Location): string {
  return `the S3 bucket ${bucket} at ${endpoint || `AWS in ${region}`}`
}

/** The HTTP status that an S3 server answered, if it answered. */
export function statusOf(error: unknown): number | undefined {
  return (error as Partial<SdkError> | undefined)?.$metadata?.httpStatusCode
}

/** The code that an S3 server answered (`NoSuchKey`), else that of the system (`ECONNREFUSED`). */
export function codeOf(error: unknown): string {
  const { Code, name } = error as Partial<SdkError>
  return Code ?? (name && !NO_NAMES.has(name) ? name : undefined) ?? systemErrorCode(error) ?? name ?? 'unknown error'
}

// --- internal ---

interface SdkError {
  name: string
  Code: string
  $metadata: { httpStatusCode?: number }
}

interface Failure {
  code: string
  /** Left out: no answer. */
  status?: number
  text: string
}

/** An answer to HEAD has no body, so no code. */
const NO_NAMES = new Set(['Error', 'Unknown', 'UnknownError'])
const FULL = new Set(['QuotaExceeded', 'StorageFull', 'InsufficientStorage', 'XMinioStorageFull', 'XMinioStorageQuotaExceeded', 'XMinioAdminBucketQuotaExceeded', 'NotEnoughSpace'])
const BAD_KEYS = new Set(['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'InvalidToken', 'ExpiredToken', 'TokenRefreshRequired'])
const WRONG_REGION = new Set(['PermanentRedirect', 'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException'])
const BUSY = new Set(['SlowDown', 'ServiceUnavailable', 'RequestTimeout', 'InternalError'])
const CERTIFICATE_RE = /CERT|TLS|SSL|EPROTO|SIGNATURE/

function readFailure(error: unknown): Failure | undefined {
  const status = statusOf(error)
  const code = codeOf(error)
  // What is neither an answer nor of the network is a mistake of ours.
  if (status === undefined && systemErrorCode(error) === undefined && code !== 'TimeoutError') return undefined
  return { code, text: errorMessage(error), ...(status !== undefined && { status }) }
}

function describe({ code, status, text }: Failure): string {
  if (status === undefined) {
    const cure = CERTIFICATE_RE.test(code) ? 'Its certificate is not trusted here: set NODE_EXTRA_CA_CERTS, or correct storage.endpoint.' : 'Check storage.endpoint, and that the server runs and this machine reaches it.'
    return `it does not answer (${text || code}). ${cure}`
  }
  const answer = NO_NAMES.has(code) ? `HTTP ${status}` : `${code}, HTTP ${status}`
  if (code === 'NoSuchBucket') return 'there is no such bucket. Create it, or correct storage.url.'
  if (BAD_KEYS.has(code)) return `it refuses the keys (${answer}). Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) in the environment of this process.`
  if (code === 'RequestTimeTooSkewed') return 'its clock and that of this machine differ too much. Set the clock.'
  if (WRONG_REGION.has(code) || status === 301) return `the bucket is in another region (${answer}). Correct storage.region.`
  if (status === 401 || status === 403) return `it refuses the request (${answer}). Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of this process, or give these keys the right to list, read, write and delete in the bucket.`
  if (BUSY.has(code) || status >= 500) return `it is in trouble (${answer}). Try again later.`
  return `it answered ${answer}. Check storage.endpoint and what the server logs.`
}
