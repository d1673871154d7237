import type { OutputPart } from '#core/tasks/output-file.ts'

const RANGE_RE = /^bytes=(?:(?<first>\d{1,15})-(?<last>\d{0,15})|-(?<suffix>\d{1,15}))$/

/** What a `Range` header asks for (RFC 9110). `undefined`: all, as for any header that is not one range of bytes. */
export function parseRange(header: string | undefined): OutputPart | undefined {
  const groups = RANGE_RE.exec(header ?? '')?.groups
  if (!groups) return undefined
  const { first, last, suffix } = groups
  if (suffix !== undefined) return { last: Number(suffix) }
  const part = { offset: Number(first), end: last ? Number(last) + 1 : undefined }
  return part.end !== undefined && part.end <= part.offset ? undefined : part
}
