import { createHash } from 'node:crypto'
import { errorMessage, HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Submissions with a key: one that is repeated makes nothing, and is answered with what the first one made. */
export interface SubmitKeys {
  /** @throws `task.key_used` if the key came with another request */
  once(key: SubmitKey, create: () => Promise<TaskRecord[]>): Promise<TaskRecord[]>
}

export interface SubmitKey {
  key: string
  /** Of the request that it came with. */
  digest: string
}

const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS

export function createSubmitKeys(store: Pick<TaskStore, 'queries' | 'find' | 'nextNumber'>): SubmitKeys {
  /** On their way. */
  const pending = new Map<string, { digest: string; work: Promise<TaskRecord[]> }>()
  /** Hour by hour the number that was next, by a clock that nobody sets. */
  let marks: { at: number; number: number }[] = []

  /** What came of the first submission with this key. */
  async function findEarlier({ key, digest }: SubmitKey): Promise<TaskRecord[] | undefined> {
    const known = await store.queries.findKey(key)
    const first = known && (await store.queries.byNumber(known.number))
    if (!first) return undefined
    assertSame(key, digest, known.digest)
    return first.kind === 'targets' ? store.queries.items(first.number) : [(await store.find(first.id)) ?? first]
  }

  /** Keys are kept for a day, and those from before a start for a day from then on: nobody repeats a submission for longer. */
  function forgetOld(): void {
    const now = performance.now()
    if (now - (marks.at(-1)?.at ?? -Infinity) < HOUR_MS) return
    marks = [...marks, { at: now, number: store.nextNumber() }]
    const old = marks.findLast(({ at }) => now - at >= DAY_MS)
    if (!old) return
    marks = marks.filter(({ at }) => at > old.at)
    store.queries.forgetKeysBelow(old.number).catch((error: unknown) => console.error(`[hakuriver] [queue] keys of old submissions could not be removed: ${errorMessage(error)}`))
  }

  return {
    async once({ key, digest }, create) {
      forgetOld()
      const running = pending.get(key)
      if (running) {
        assertSame(key, digest, running.digest)
        return running.work
      }
      const work = findEarlier({ key, digest }).then((earlier) => earlier ?? create())
      pending.set(key, { digest, work })
      return work.finally(() => pending.delete(key))
    },
  }
}

/** What a request is known by when it is repeated. */
export function digestOf(request: object): string {
  return createHash('sha256').update(JSON.stringify(request)).digest('base64url').slice(0, DIGEST_LENGTH)
}

// --- internal ---

/** 132 bits. */
const DIGEST_LENGTH = 22

/** `known`: `null` if it was not kept, by an earlier version. */
function assertSame(key: string, digest: string, known: string | null): void {
  if (known === null || known === digest) return
  throw new HakuError('task.key_used', `The key ${quote(key)} came with another submission within the last day. Repeat a submission exactly as it was, and give each other one a key of its own.`)
}
