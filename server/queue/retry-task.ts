import { HakuError } from '#core/errors.ts'
import { expand, toIndexSet } from '#core/tasks/index-set.ts'
import { isFinal, taskStates } from '#core/tasks/states.ts'
import type { Versions } from '../environments/versions.ts'
import { asked, nameOf } from './controls.ts'
import { toQueue } from './try-again.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

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
  return store.update(task.id, (record) => (isUnsuccessful(record) ? again(record, by) : undefined), by)
}

async function retryBatch(batch: TaskRecord, by: string, store: TaskStore): Promise<TaskRecord> {
  const { items, number } = batch
  const ids = await store.queries.itemsIn(number, unsuccessful)
  const isAnyUnplaced = items !== null && items.unplaced !== null
  if (ids.length === 0 && !isAnyUnplaced) throw notNow(batch)
  const rows = isAnyUnplaced ? new Set(await store.queries.itemIndexes(number)) : new Set<number>()
  await store.update(batch.id, (record) => {
    if (!record.items) return undefined
    const pending = isAnyUnplaced ? toIndexSet(expand(record.items.indexes).filter((index) => !rows.has(index))) : record.items.pending
    return { ...asked(record, 'retry', by), wish: 'run', reason: null, message: null, items: { ...record.items, pending, unplaced: null } }
  }, by)
  await Promise.all(ids.map((id) => store.update(id, (record) => (isUnsuccessful(record) ? again(record, by) : undefined), by)))
  return store.get(batch.id)
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
