import type { Versions } from '../environments/versions.ts'
import { checkSubmission, type SubmissionChecks } from './check-submission.ts'
import { byUser } from './events.ts'
import { makeRecords, type Submitted } from './make-records.ts'
import { createPinning } from './pinning.ts'
import { createSubmitKeys, digestOf, type SubmitKey } from './submit-keys.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Takes submissions in. */
export interface Submissions {
  /**
   * Everything is checked before anything is created, and what was created is on the disk. Resolves to the task, the items of a
   * batch of targets, or the batch. @throws see `hostApi.submitTask`
   */
  submit(body: Submitted, user: string, options?: SubmitOptions): Promise<TaskRecord[]>
}

export interface SubmitOptions {
  /** It repeats what was accepted before: the request for that, by which it is known when it comes again itself. */
  repetition: object
}

export interface SubmissionsOptions extends Omit<SubmissionChecks, 'find' | 'isRepetition'> {
  store: TaskStore
  versions: Pick<Versions, 'use'>
}

export function createSubmissions({ store, versions, nodes, rules }: SubmissionsOptions): Submissions {
  const pinning = createPinning(versions)
  const keys = createSubmitKeys(store)

  async function create(body: Submitted, user: string, key?: SubmitKey, options?: SubmitOptions): Promise<TaskRecord[]> {
    await checkSubmission(body, { nodes, rules, find: store.find, isRepetition: options !== undefined })
    const add = async (resolved: Parameters<typeof makeRecords>[0]['resolved']) => {
      const records = makeRecords({ body, resolved, by: byUser(user), submitter: body.submitter || user, nextNumber: store.nextNumber })
      await store.add(records, key)
      return records.length > 1 ? records.slice(1) : records
    }
    return body.environment === null ? add(null) : pinning.pin(body.environment, body.version, add)
  }

  return {
    async submit(body, user, options) {
      const { key } = body
      if (key === undefined) return create(body, user, undefined, options)
      const digest = digestOf(options?.repetition ?? body)
      return keys.once({ key, digest }, () => create(body, user, { key, digest }, options))
    },
  }
}
