import type { SubmitBody } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import type { Versions } from '../environments/versions.ts'
import { checkSubmission, type SubmissionChecks } from './check-submission.ts'
import { byUser } from './events.ts'
import { makeRecords } from './make-records.ts'
import { createPinning } from './pinning.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Takes submissions in. */
export interface Submissions {
  /**
   * Everything is checked before anything is created, and what was created is on the disk. Resolves to the task, the items of a
   * batch of targets, or the batch. @throws see `hostApi.submitTask`
   */
  submit(body: SubmitBody, user: string, options?: { isRepetition: boolean }): Promise<TaskRecord[]>
}

export interface SubmissionsOptions extends Omit<SubmissionChecks, 'find' | 'isRepetition'> {
  store: TaskStore
  versions: Pick<Versions, 'use'>
}

const DAY_MS = 24 * 60 * 60 * 1000

export function createSubmissions({ store, versions, nodes, rules }: SubmissionsOptions): Submissions {
  const pinning = createPinning(versions)
  /** Submissions with a key that are on their way. */
  const pending = new Map<string, Promise<TaskRecord[]>>()
  let forgotten = 0

  async function create(body: SubmitBody, user: string, isRepetition = false): Promise<TaskRecord[]> {
    await checkSubmission(body, { nodes, rules, find: store.find, isRepetition })
    const add = async (resolved: Parameters<typeof makeRecords>[0]['resolved']) => {
      const records = makeRecords({ body, resolved, by: byUser(user), submitter: body.submitter || user, nextNumber: store.nextNumber })
      await store.add(records, body.key)
      return records.length > 1 ? records.slice(1) : records
    }
    return body.environment === null ? add(null) : pinning.pin(body.environment, body.version, add)
  }

  /** What came of the first submission with this key. */
  async function findEarlier(key: string): Promise<TaskRecord[] | undefined> {
    const number = await store.queries.findKey(key)
    const first = number === undefined ? undefined : await store.queries.byNumber(number)
    if (!first) return undefined
    return first.kind === 'targets' ? store.queries.items(first.number) : [(await store.find(first.id)) ?? first]
  }

  /** Keys are kept for a day: nobody repeats a submission for longer. */
  function forgetOldKeys(): void {
    if (Date.now() - forgotten < DAY_MS / 24) return
    forgotten = Date.now()
    store.queries.forgetKeysBefore(forgotten - DAY_MS).catch((error: unknown) => console.error(`[hakuriver] [queue] keys of old submissions could not be removed: ${errorMessage(error)}`))
  }

  return {
    async submit(body, user, options) {
      const { key } = body
      if (key === undefined) return create(body, user, options?.isRepetition)
      forgetOldKeys()
      const running = pending.get(key)
      if (running) return running
      const work = findEarlier(key).then((earlier) => earlier ?? create(body, user, options?.isRepetition))
      pending.set(key, work)
      return work.finally(() => pending.delete(key))
    },
  }
}
