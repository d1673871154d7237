import { randomBytes } from 'node:crypto'
import { decodeTime, monotonicFactory } from 'ulid'

let pool = Buffer.alloc(0)
let used = 0

/** From 0 to below 1. A few thousand random bytes at a time cost as much as one. */
function random(): number {
  if (used === pool.length) {
    pool = randomBytes(4096)
    used = 0
  }
  return (pool[used++] ?? 0) / 256
}

const nextUlid = monotonicFactory(random)

/** A new id for a task or an operation: a ULID in lower case, so ids sort by time, also within one millisecond. */
export function createId(): string {
  return nextUlid().toLowerCase()
}

/** What is made from now on is greater than this id, even if the clock was set back since. */
export function continueIds(id: string): void {
  nextUlid(decodeTime(id.toUpperCase()) + 1)
}

/** A new secret for a credential: 256 random bits, URL-safe. */
export function createToken(): string {
  return randomBytes(32).toString('base64url')
}
