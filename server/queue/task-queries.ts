import { type Kysely, type SelectQueryBuilder, sql, type SqlBool } from 'kysely'
import { encodeTime } from 'ulid'
import type { TaskQuery } from '#core/api/schemas.ts'
import { isFinal, type TaskState, taskStates } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'
import { type BatchTally, countChange, createTally } from './batch-counts.ts'
import type { LeftBehind } from './left-behind.ts'
import { findNumbers, type NumbersQuery, numbersInStates } from './task-numbers.ts'
import type { TaskRecord, TaskSpec } from './task-record.ts'
import { decodeSpec, fromRow, type ReadRow } from './task-rows.ts'

/** Tasks as they are on the disk. */
export interface TaskQueries {
  /** Without its events, what makes its items, and what is not read for lists. */
  list(query: TaskQuery): Promise<{ items: TaskRecord[]; nextCursor: string | null }>
  find(id: string): Promise<TaskRecord | undefined>
  /** All that have not ended. */
  unfinished(): Promise<TaskRecord[]>
  /** All that were lost with their nodes, and may come back with them. */
  outOfSight(): Promise<TaskRecord[]>
  /** What nodes may still have although it was taken from them. */
  leftBehind(): Promise<LeftBehind[]>
  /** Ids of a batch's items that have a row and are in one of these states. */
  itemsIn(batchNumber: number, states: readonly TaskState[]): Promise<string[]>
  /** Indexes of all items that have a row. */
  itemIndexes(batchNumber: number): Promise<number[]>
  tally(batchNumber: number): Promise<BatchTally>
  /** What was submitted last. */
  newest(): Promise<Pick<TaskRecord, 'number' | 'id'> | undefined>
  /** The number of what was submitted with this key, and what it was. */
  findKey(key: string): Promise<Pick<Tables['submit_keys'], 'number' | 'digest'> | undefined>
  byNumber(number: number): Promise<TaskRecord | undefined>
  items(batchNumber: number): Promise<TaskRecord[]>
  forgetKeysBelow(number: number): Promise<void>
}

const columns = [
  'number', 'id', 'batch', 'item_index', 'variables', 'state', 'wish', 'reason', 'message', 'exit_code', 'instance', 'node', 'target', 'environment', 'version', 'submitter', 'priority', 'rank', 'retries_left',
  'not_before', 'gpu_ids', 'numa_node', 'submitted', 'started', 'finished', 'sequence', 'stdout_bytes', 'stderr_bytes', 'size', 'pending', 'unplaced', 'counts',
] as const
/** Of what was submitted, in one page. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024
const liveStates = taskStates.filter((state) => !isFinal(state))

export function createTaskQueries(database: Kysely<Tables>): TaskQueries {
  /** Each with its own spec or its batch's. */
  function withSpecs() {
    return database.selectFrom('tasks').innerJoin('task_specs', (join) => join.on((eb) => eb('task_specs.number', '=', eb.fn.coalesce('tasks.batch', 'tasks.number'))))
  }

  function rows() {
    return withSpecs()
      .select(columns.map((column) => `tasks.${column}` as const))
      .select('task_specs.spec')
  }

  /** What makes the items of a batch may be large: it is read with the batch alone. */
  function wholeRows() {
    return rows().select(['tasks.events', (eb) => eb.case().when('tasks.size', 'is not', null).then(eb.ref('task_specs.items')).else(null).end().as('items')])
  }

  /** Numbers from which on tasks were submitted at this time or later. A batch's items stand before it. */
  async function firstNumberSince(time: number): Promise<number> {
    const first = await database.selectFrom('tasks').select(['number', 'size']).where('id', '>=', encodeTime(Math.max(0, time), 10).toLowerCase()).orderBy('id').limit(1).executeTakeFirst()
    return first ? first.number - (first.size ?? 0) : Number.MAX_SAFE_INTEGER
  }

  /** Which numbers a batch's items have; `undefined`: there is no such batch. */
  async function numbersOfItems(id: string): Promise<{ from: number; before: number } | undefined> {
    const batch = await database.selectFrom('tasks').select(['number', 'size']).where('id', '=', id).executeTakeFirst()
    return batch?.size ? { from: batch.number - batch.size, before: batch.number } : undefined
  }

  /** `null`: nothing can match. */
  async function scopeOf({ state, node, environment, submitter, batch, since, level, cursor }: TaskQuery): Promise<Omit<NumbersQuery, 'limit'> | null> {
    const items = batch === undefined ? { from: 0, before: Number.MAX_SAFE_INTEGER } : await numbersOfItems(batch)
    if (!items || (batch !== undefined && level === 'top')) return null
    return {
      levels: batch !== undefined ? ['items'] : level === 'top' ? ['top'] : ['top', 'items'],
      filters: { state, node, environment: environment === 'NULL' ? null : environment, submitter },
      from: Math.max(items.from, since === undefined ? 0 : await firstNumberSince(Date.parse(since))),
      before: Math.min(items.before, cursor === undefined ? items.before : readCursor(cursor)),
    }
  }

  /** As many of them as are answered in one piece, one at least: each may have megabytes. */
  async function withinBytes(page: readonly number[]): Promise<readonly number[]> {
    const found = await withSpecs().where(isOneOf(page)).select(['tasks.number', sql<number>`octet_length(task_specs.spec) + coalesce(octet_length(tasks.variables), 0)`.as('bytes')]).execute()
    const sizes = new Map(found.map(({ number, bytes }) => [number, bytes]))
    let sum = 0
    const end = page.findIndex((number, place) => {
      sum += sizes.get(number) ?? 0
      return sum > MAX_PAGE_BYTES && place > 0
    })
    return end === -1 ? page : page.slice(0, end)
  }

  async function findOne(select: SelectQueryBuilder<Tables, 'tasks' | 'task_specs', ReadRow>): Promise<TaskRecord | undefined> {
    const row = await select.executeTakeFirst()
    return row && fromRow(row)
  }

  return {
    async list(query) {
      const { limit } = query
      const scope = await scopeOf(query)
      const numbers = scope === null ? [] : await findNumbers(database, { ...scope, limit: limit + 1 })
      const page = await withinBytes(numbers.slice(0, limit))
      const found = await rows().where(isOneOf(page)).orderBy('tasks.number', 'desc').execute()
      return { items: withSharedSpecs(found), nextCursor: numbers.length > page.length ? String(page.at(-1)) : null }
    },
    find: (id) => findOne(wholeRows().where('tasks.id', '=', id)),
    byNumber: (number) => findOne(wholeRows().where('tasks.number', '=', number)),
    async unfinished() {
      return withSharedSpecs(await wholeRows().where(isOneOf(await numbersInStates(database, liveStates))).orderBy('tasks.number').execute())
    },
    async outOfSight() {
      return withSharedSpecs(await wholeRows().where(isOneOf(await numbersInStates(database, ['lost']))).where('tasks.reason', '=', 'node_unreachable').where('tasks.node', 'is not', null).execute())
    },
    async leftBehind() {
      const found = await database.selectFrom('left_behind').selectAll().execute()
      return found.map(({ placed, ...rest }) => ({ ...rest, placed: JSON.parse(placed) as LeftBehind['placed'] }))
    },
    async itemsIn(batchNumber, states) {
      const found = await database.selectFrom('tasks').select('id').where('batch', '=', batchNumber).where('state', 'in', states).orderBy('number').execute()
      return found.map(({ id }) => id)
    },
    async itemIndexes(batchNumber) {
      const found = await database.selectFrom('tasks').select('item_index').where('batch', '=', batchNumber).execute()
      return found.flatMap(({ item_index: index }) => index ?? [])
    },
    async items(batchNumber) {
      return withSharedSpecs(await wholeRows().where('tasks.batch', '=', batchNumber).orderBy('tasks.number').execute())
    },
    async tally(batchNumber) {
      const groups = await database.selectFrom('tasks').select(({ fn }) => ['state', 'exit_code', fn.countAll<number>().as('rows')]).where('batch', '=', batchNumber).groupBy(['state', 'exit_code']).execute()
      const tally = createTally()
      for (const { state, exit_code: exitCode, rows: count } of groups) countChange(tally, undefined, { state, exitCode }, count)
      return tally
    },
    newest: () => database.selectFrom('tasks').select(['number', 'id']).where('number', '=', (eb) => eb.selectFrom('tasks').select(({ fn }) => fn.max('number').as('last'))).executeTakeFirst(),
    findKey: (key) => database.selectFrom('submit_keys').select(['number', 'digest']).where('key', '=', key).executeTakeFirst(),
    async forgetKeysBelow(number) {
      await database.deleteFrom('submit_keys').where('number', '<', number).execute()
    },
  }
}

// --- internal ---

/** By the primary key. One value, however many they are. */
function isOneOf(numbers: readonly number[]) {
  return sql<SqlBool>`tasks.number IN (SELECT value FROM json_each(${JSON.stringify(numbers)}))`
}

/** Of a cursor that is none nothing is listed. */
function readCursor(cursor: string): number {
  return /^\d{1,15}$/.test(cursor) ? Number(cursor) : 0
}

/** Records of one batch share one object of what was submitted. */
function withSharedSpecs(rows: readonly ReadRow[]): TaskRecord[] {
  const specs = new Map<number, TaskSpec>()
  return rows.map((row) => {
    const number = row.batch ?? row.number
    const spec = specs.get(number) ?? decodeSpec(row.spec)
    specs.set(number, spec)
    return fromRow(row, spec)
  })
}
