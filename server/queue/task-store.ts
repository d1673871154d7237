import { EventEmitter } from 'node:events'
import type { Kysely } from 'kysely'
import type { Execution } from '#core/api/schemas.ts'
import type { GroupWriter } from '#core/database/group-writer.ts'
import { HakuError } from '#core/errors.ts'
import { continueIds } from '#core/ids.ts'
import { quote } from '#core/names.ts'
import { countIndexes, withoutIndexes } from '#core/tasks/index-set.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'
import { batchOutcome, type BatchTally, countChange, countRows, countsOf, createTally, goesOn } from './batch-counts.ts'
import { itemOf, withoutPending } from './items.ts'
import { createLiveTasks, type LiveTasks } from './live-tasks.ts'
import { isPromise, isWorthStoring, itemBefore, withStateEvent } from './task-changes.ts'
import { batchIdOf, type StateCounts, type TaskRecord } from './task-record.ts'
import type { SubmitKey } from './submit-keys.ts'
import { createTaskQueries, type TaskQueries } from './task-queries.ts'
import { createTaskWrites, type TaskChange } from './task-writes.ts'
import { createTurns } from '../turns.ts'
import { createUntilWritten, type UntilWritten } from './until-written.ts'

/** Tasks, batches and items: on disk all of them, in memory what has not ended. */
export interface TaskStore {
  /** Everything that has not ended. */
  live: Pick<LiveTasks, 'get' | 'values' | 'waiting' | 'onNode' | 'lostOn' | 'hasLost' | 'lostOf' | 'itemsOf' | 'reservations'>
  /** What is on the disk. */
  queries: TaskQueries
  /** A number that no task has, and room for `items` ahead of it. */
  nextNumber(items?: number): number
  /** On the disk when it resolves. A batch comes ahead of its items. */
  add(records: readonly TaskRecord[], key?: SubmitKey): Promise<void>
  /** Items that have no row too, as they would be. */
  find(id: string): Promise<TaskRecord | undefined>
  /** @throws `task.not_found` */
  get(id: string): Promise<TaskRecord>
  /** As it is once the changes that are under way are done: a batch is then as its items are. */
  settled(id: string): Promise<TaskRecord | undefined>
  /** The same. @throws `task.not_found` */
  getSettled(id: string): Promise<TaskRecord>
  /** Of the items of a batch that goes on; `null` for all else. */
  countsOf(record: TaskRecord): StateCounts | null
  /** Of a batch that goes on. */
  tallyOf(batchId: string): BatchTally | undefined
  /** Unfinished tasks and batches of an environment, oldest first. */
  unfinishedOf(environment: string): TaskRecord[]
  /**
   * Changes a task: one change at a time for each task, on the disk before anybody sees it. `change` gets the task as it
   * is then, and returns what is different, or `undefined` to leave it; what it reads meanwhile nobody changes with the task. A change of state becomes an event `by` somebody. An item that has no
   * row gets one.
   *
   * @throws `task.not_found`
   */
  update(id: string, change: Change, by: string): Promise<TaskRecord>
  /** Changes a batch, and gives rows to some of its items: both or nothing. @throws `task.not_found` */
  place(batchId: string, change: (batch: TaskRecord) => { batch: Partial<TaskRecord>; items: TaskRecord[] } | undefined, by: string): Promise<TaskRecord>
  /** A node has told that it does not have these any more, which were taken from it. */
  forgetLeft(hostname: string, executions: readonly Execution[]): Promise<void>
  /** `change`: a task as it is after each of its changes, and as it was before. `added`: what was submitted. */
  changes: EventEmitter<TaskStoreEvents>
  /** For changes that follow from what is told once: see {@link UntilWritten.run}. */
  untilWritten: UntilWritten['run']
  /** Nothing is tried again any more. */
  close(): void
}

type Difference = Partial<TaskRecord> | undefined
export type Change = (record: TaskRecord) => Difference | Promise<Difference>
export interface TaskStoreEvents {
  change: [TaskRecord, TaskRecord]
  added: [readonly TaskRecord[]]
}

export interface TaskStoreOptions {
  database: Kysely<Tables>
  /** Of the same database. */
  writer: GroupWriter
}

export async function createTaskStore({ database, writer }: TaskStoreOptions): Promise<TaskStore> {
  const queries = createTaskQueries(database)
  const writes = createTaskWrites(database, writer)
  const live = createLiveTasks()
  const tallies = new Map<string, BatchTally>()
  const turns = createTurns()
  const untilWritten = createUntilWritten()
  const changes = new EventEmitter<TaskStoreEvents>()
  changes.setMaxListeners(0)
  for (const left of await queries.leftBehind()) live.reservations.leave(left)
  const newest = await queries.newest()
  if (newest) continueIds(newest.id)
  let lastNumber = newest?.number ?? 0
  for (const record of [...(await queries.outOfSight()), ...(await queries.unfinished())]) {
    live.put(undefined, record)
    if (record.items && !isFinal(record.state)) tallies.set(record.id, await queries.tally(record.number))
    // Where "task move" has put it is behind all that come later.
    lastNumber = Math.max(lastNumber, Math.ceil(record.rank))
  }

  async function find(id: string): Promise<TaskRecord | undefined> {
    const known = live.get(id) ?? (await queries.find(id))
    const batchId = batchIdOf(id)
    if (known || batchId === undefined) return known
    const batch = live.get(batchId) ?? (await queries.find(batchId))
    return batch && itemOf(batch, id)
  }

  async function get(id: string): Promise<TaskRecord> {
    const record = await find(id)
    if (!record) throw new HakuError('task.not_found', `There is no task ${quote(id)}. See "hakuriver.task list".`)
    return record
  }

  /** In memory, as soon as it is on the disk. */
  function apply(done: readonly TaskChange[]): void {
    const batches = new Set<string>()
    for (const { before, after } of done) {
      live.put(before, after)
      const batchId = after.items ? after.id : after.batch
      if (batchId === null) continue
      batches.add(batchId)
      if (after.batch !== null) countOne(after.batch, before, after)
    }
    for (const { before, after } of done) changes.emit('change', after, before ?? itemBefore(after))
    for (const batchId of batches) settleIfDue(batchId)
  }

  function countOne(batchId: string, before: TaskRecord | undefined, after: TaskRecord): void {
    const tally = tallies.get(batchId)
    if (tally) countChange(tally, before, after)
  }

  /** A batch is as its items are. */
  function settleIfDue(batchId: string): void {
    const [batch, tally] = [live.get(batchId), tallies.get(batchId)]
    // Of most changes of items nothing more is to be counted.
    if (batch?.state === 'running' && batch.items && tally && goesOn(batch.items, tally)) return
    if (batch?.items && tally && batchOutcome(batch, batch.items, tally).state === batch.state) return
    void untilWritten.run(`the state of batch ${batchId} could not be stored`, () => settle(batchId))
  }

  /** One that has ended is looked at again when one of its items comes back. */
  async function settle(batchId: string): Promise<void> {
    await turns.take(batchId, async () => {
      const before = await get(batchId)
      if (!before.items) return
      const tally = tallies.get(batchId) ?? (await queries.tally(before.number))
      tallies.set(batchId, tally)
      const outcome = batchOutcome(before, before.items, tally)
      if (outcome.state !== before.state) {
        const ended = isFinal(outcome.state)
        const after = { ...before, ...outcome, finished: ended ? new Date().toISOString() : null, started: before.started ?? (outcome.state === 'running' ? new Date().toISOString() : null), items: { ...before.items, counts: ended ? countsOf(before.items, tally) : null } }
        await commit([{ before, after: withStateEvent(before, after, 'host') }])
      }
      if (!live.get(batchId)) tallies.delete(batchId)
    })
  }

  function commit(done: readonly TaskChange[], batchNumber: number | null = null): Promise<void> {
    return writes.change(done, { batchNumber, isDurable: done.some(isPromise), onWritten: () => apply(done) })
  }

  async function change(id: string, difference: Change, by: string): Promise<TaskRecord> {
    const before = await get(id)
    if (!before.hasRow) return changeWithoutRow(before, difference, by)
    const changed = await difference(before)
    if (!changed) return before
    const after = withStateEvent(before, { ...before, ...changed }, by)
    if (isWorthStoring(before, after)) await commit([{ before, after }])
    else apply([{ before, after }])
    return after
  }

  /** An item that has no row gets one, unless it got one just now. */
  function changeWithoutRow({ id, batch: batchId, index }: TaskRecord, difference: Change, by: string): Promise<TaskRecord> {
    return turns.take(batchId ?? '', async () => {
      const item = await get(id)
      if (item.hasRow) return change(id, difference, by)
      const changed = await difference(item)
      if (!changed) return item
      const batch = await get(batchId ?? '')
      const after = withStateEvent(item, { ...item, ...changed, hasRow: true }, by)
      await commit([{ before: batch, after: { ...batch, ...withoutPending(batch, index ?? 0) } }, { before: undefined, after }], batch.number)
      return after
    })
  }

  /** What has a row does not wait as well: of a batch that an earlier Host left so, nothing could be placed any more. */
  async function withoutRows(batch: TaskRecord): Promise<TaskRecord> {
    const { items } = batch
    const tally = tallies.get(batch.id)
    if (!items || !tally || countIndexes(items.pending) + countRows(tally) <= items.size) return batch
    return { ...batch, items: { ...items, pending: withoutIndexes(items.pending, await queries.itemIndexes(batch.number)) } }
  }

  async function place(batchId: string, decide: Parameters<TaskStore['place']>[1], by: string): Promise<TaskRecord> {
    const before = await get(batchId)
    const decided = decide(await withoutRows(before))
    if (!decided) return before
    const after = withStateEvent(before, { ...before, ...decided.batch }, by)
    const items = decided.items.map((item): TaskChange => ({ before: undefined, after: withStateEvent({ ...item, state: 'queued' }, { ...item, hasRow: true }, by) }))
    await commit([{ before, after }, ...items], before.number)
    return after
  }

  const getSettled = (id: string) => turns.take(id, () => get(id))

  for (const { id, items } of live.values()) if (items) settleIfDue(id)

  return {
    live,
    queries,
    changes,
    untilWritten: untilWritten.run,
    close: untilWritten.close,
    find,
    get,
    settled: (id) => turns.take(id, () => find(id)),
    getSettled,
    nextNumber(items = 0) {
      lastNumber += items + 1
      return lastNumber
    },
    async add(records, key) {
      await writes.add(records, key, () => {
        for (const record of records) {
          if (record.items) tallies.set(record.id, createTally())
          else if (record.batch !== null) countOne(record.batch, undefined, record)
          live.put(undefined, record)
        }
        changes.emit('added', records)
      })
    },
    forgetLeft: (hostname, executions) => writes.forgetLeft(hostname, executions, () => live.reservations.forget(hostname, executions)),
    tallyOf: (batchId) => tallies.get(batchId),
    countsOf({ id, items }) {
      const tally = tallies.get(id)
      return items && tally ? countsOf(items, tally) : null
    },
    unfinishedOf: (environment) => [...live.values()].filter((task) => task.environment === environment).sort((left, right) => left.number - right.number),
    async update(id, difference, by) {
      const record = await turns.take(id, () => change(id, difference, by))
      return record.items ? getSettled(id) : record
    },
    async place(batchId, decide, by) {
      await turns.take(batchId, () => place(batchId, decide, by))
      return getSettled(batchId)
    },
  }
}
