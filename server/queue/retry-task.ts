import { HakuError } from '#core/errors.ts'
import { withoutIndexes } from '#core/tasks/index-set.ts'
import { isFinal, taskStates } from '#core/tasks/states.ts'
import type { Versions } from '../environments/versions.ts'
import { asked, nameOf } from './controls.ts'
import { toQueue } from './try-again.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** The Host does other things between so many. */
const ITEMS_AT_A_TIME = 500
const unsuccessful = taskStates.filter((state) => isFinal(state) && state !== 'succeeded')

/** Executes what did not succeed once more, under the same id: a task, or such items of a batch. @throws see `hostApi.retryTask` */
export async function retryTask(id: string, by: string, { store, versions }: { store: TaskStore; versions: Pick<Versions, 'use'> }): Promise<TaskRecord> {
  const task = await store.get(id)
  const { environment, version } = task
  const work = () => (task.items ? retryBatch(task, by, store) : retryOne(task, by, store))
  // Nobody removes the version before it is needed again.
  return environment === null || version === null ? work() : versions.use(environment, version, work)
}

// --- internal ---

async function retryOne(task: TaskRecord, by: string, store: TaskStore): Promise<TaskRecord> {
  if (!isUnsuccessful(task)) throw notNow(task)
  // Of its batch not all is to end any more.
  if (task.batch !== null) await store.update(task.batch, (batch) => (batch.wish === 'kill' ? { wish: 'run' } : undefined), by)
  return store.update(task.id, (record) => (isUnsuccessful(record) ? again(record, by) : undefined), by)
}

async function retryBatch(batch: TaskRecord, by: string, store: TaskStore): Promise<TaskRecord> {
  const { id, number } = batch
  let ended: string[] = []
  let isAnyAgain = false
  // In the batch's turn: nobody else gives rows to its items meanwhile.
  await store.update(id, async (record) => {
    if (!record.items) return undefined
    const { items } = record
    ended = await store.queries.itemsIn(number, unsuccessful)
    const pending = items.unplaced === null ? items.pending : withoutIndexes(items.indexes, await store.queries.itemIndexes(number))
    isAnyAgain = ended.length > 0 || (items.unplaced !== null && pending.length > 0)
    return isAnyAgain ? { ...asked(record, 'retry', by), wish: 'run', reason: null, message: null, items: { ...items, pending, unplaced: null } } : undefined
  }, by)
  if (!isAnyAgain) throw notNow(batch)
  for (let start = 0; start < ended.length; start += ITEMS_AT_A_TIME) {
    await Promise.all(ended.slice(start, start + ITEMS_AT_A_TIME).map((item) => store.update(item, (record) => (isUnsuccessful(record) ? again(record, by) : undefined), by)))
  }
  return store.getSettled(id)
}

function isUnsuccessful({ state }: TaskRecord): boolean {
  return unsuccessful.includes(state)
}

function again(record: TaskRecord, by: string): Partial<TaskRecord> {
  return { ...asked(record, 'retry', by), ...toQueue, retriesLeft: record.retries }
}

function notNow(task: TaskRecord): HakuError {
  return new HakuError('task.state', task.items ? `No item of the batch ${task.id} has ended otherwise than well, so none can be retried.` : `The ${nameOf(task)} is ${task.state}; only what ended otherwise than well can be retried.`)
}
