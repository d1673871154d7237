/** Where tarballs live on S3. */
export interface S3Place {
  bucket: string
  /** What all keys begin with: empty, or with a slash at its end. */
  prefix: string
}

/** The place that `s3://bucket/prefix` names; `undefined` if it is not such a URL. A slash at the end changes nothing. */
export function parseS3Url(url: string): S3Place | undefined {
  const groups = URL_RE.exec(url)?.groups
  const bucket = groups?.['bucket']
  if (!bucket || bucket.includes('..')) return undefined
  const parts = (groups['prefix'] ?? '').replace(/\/$/, '').split('/')
  if (parts.length === 1 && parts[0] === '') return { bucket, prefix: '' }
  if (!parts.every((part) => PART_RE.test(part) && part !== '.' && part !== '..')) return undefined
  return { bucket, prefix: `${parts.join('/')}/` }
}

/** Whether it is the address of a server and nothing more. A user or password there would end in messages. */
export function isEndpoint(text: string): boolean {
  return ENDPOINT_RE.test(text) && URL.canParse(text)
}

// --- internal ---

const URL_RE = /^s3:\/\/(?<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(?<prefix>.{0,500}))?$/
const PART_RE = /^[A-Za-z0-9._-]+$/
const ENDPOINT_RE = /^https?:\/\/(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?\/?$/
