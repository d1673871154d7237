import { randomBytes } from 'node:crypto'
import { monotonicFactory } from 'ulid'

const nextUlid = monotonicFactory()

/** A new id for a task or an operation: a ULID in lower case, so ids sort by time, also within one millisecond. */
export function createId(): string {
  return nextUlid().toLowerCase()
}

/** A new secret for a credential: 256 random bits, URL-safe. */
export function createToken(): string {
  return randomBytes(32).toString('base64url')
}
