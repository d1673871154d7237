import { type Kysely, type SelectQueryBuilder, sql } from 'kysely'
import { decodeTime, encodeTime } from 'ulid'
import type { TaskQuery } from '#core/api/schemas.ts'
import { isFinal, type TaskState, taskStates } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'
import { type BatchTally, countChange, createTally } from './batch-counts.ts'
import { batchIdOf, type TaskRecord, type TaskSpec } from './task-record.ts'
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
  /** Ids of a batch's items that have a row and are in one of these states. */
  itemsIn(batchNumber: number, states: readonly TaskState[]): Promise<string[]>
  /** Indexes of all items that have a row. */
  itemIndexes(batchNumber: number): Promise<number[]>
  tally(batchNumber: number): Promise<BatchTally>
  /** The number that comes next. */
  nextNumber(): Promise<number>
  /** The number of what was submitted with this key. */
  findKey(key: string): Promise<number | undefined>
  byNumber(number: number): Promise<TaskRecord | undefined>
  items(batchNumber: number): Promise<TaskRecord[]>
  forgetKeysBefore(time: number): Promise<void>
}

const columns = [
  'number', 'id', 'batch', 'item_index', 'variables', 'state', 'wish', 'reason', 'message', 'exit_code', 'instance', 'node', 'target', 'environment', 'version', 'submitter', 'priority', 'rank', 'retries_left',
  'not_before', 'gpu_ids', 'numa_node', 'submitted', 'started', 'finished', 'sequence', 'stdout_bytes', 'stderr_bytes', 'size', 'pending', 'unplaced', 'counts',
] as const
const liveStates = taskStates.filter((state) => !isFinal(state))

export function createTaskQueries(database: Kysely<Tables>): TaskQueries {
  /** Rows, each with its own spec or its batch's. */
  function rows() {
    return database
      .selectFrom('tasks')
      .innerJoin('task_specs', (join) => join.on((eb) => eb('task_specs.number', '=', eb.fn.coalesce('tasks.batch', 'tasks.number'))))
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

  /** A part of a list: what stands on top, items, or both. Each is read from an index of its own, in its order. */
  async function part(query: TaskQuery, { level, since, batch }: { level: 'top' | 'items' | 'all'; since: number | undefined; batch: number | undefined }): Promise<ReadRow[]> {
    const { limit, cursor } = query
    let select = rows().orderBy('tasks.number', 'desc').limit(limit + 1)
    if (level !== 'all') select = select.where('tasks.batch', level === 'top' ? 'is' : 'is not', null)
    if (cursor !== undefined) select = select.where('tasks.number', '<', readCursor(cursor))
    if (since !== undefined) select = select.where('tasks.number', '>=', since)
    if (batch !== undefined) select = select.where('tasks.batch', '=', batch)
    for (const [nth, column] of filtersOf(query).entries()) {
      // SQLite guesses which index has the fewest rows; the sign keeps it from the others.
      select = nth === 0 && batch === undefined ? select.where(`tasks.${column}`, '=', query[column] ?? '') : select.where(sql`+${sql.ref(`tasks.${column}`)}`, '=', query[column])
    }
    return select.execute()
  }

  async function findOne(select: SelectQueryBuilder<Tables, 'tasks' | 'task_specs', ReadRow>): Promise<TaskRecord | undefined> {
    const row = await select.executeTakeFirst()
    return row && fromRow(row)
  }

  return {
    async list(query) {
      const { limit } = query
      const batch = query.batch === undefined ? undefined : ((await database.selectFrom('tasks').select('number').where('id', '=', query.batch).executeTakeFirst())?.number ?? -1)
      const scope = { since: query.since === undefined ? undefined : await firstNumberSince(Date.parse(query.since)), batch }
      const levels = levelsOf(query)
      const parts: ReadRow[][] = []
      for (const level of levels) parts.push(await part(query, { ...scope, level }))
      const all = levels.length === 1 ? parts.flat() : parts.flat().sort((left, right) => right.number - left.number)
      const page = all.slice(0, limit)
      return { items: withSharedSpecs(page), nextCursor: all.length > limit ? String(page.at(-1)?.number) : null }
    },
    find: (id) => findOne(wholeRows().where('tasks.id', '=', id)),
    byNumber: (number) => findOne(wholeRows().where('tasks.number', '=', number)),
    async unfinished() {
      return withSharedSpecs(await wholeRows().where('tasks.state', 'in', liveStates).execute())
    },
    async outOfSight() {
      return withSharedSpecs(await wholeRows().where('tasks.state', '=', 'lost').where('tasks.reason', '=', 'node_unreachable').where('tasks.node', 'is not', null).execute())
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
    async nextNumber() {
      const { last } = await database.selectFrom('tasks').select(({ fn }) => fn.max('number').as('last')).executeTakeFirstOrThrow()
      return (last ?? 0) + 1
    },
    async findKey(key) {
      return (await database.selectFrom('submit_keys').select('number').where('key', '=', key).executeTakeFirst())?.number
    },
    async forgetKeysBefore(time) {
      await database.deleteFrom('submit_keys').where('number', '<', await firstNumberSince(time)).execute()
    },
  }
}

/** When an id was made, Unix milliseconds. */
export function timeOfId(id: string): number {
  return decodeTime((batchIdOf(id) ?? id).toUpperCase())
}

// --- internal ---

type Filter = 'state' | 'node' | 'environment' | 'submitter'

/** Which filters there are, the one that leaves the fewest rows first: few tasks go on, and of those that ended many are of one state. */
function filtersOf(query: TaskQuery): Filter[] {
  const isLive = query.state !== undefined && !isFinal(query.state)
  const order: Filter[] = isLive ? ['state', 'node', 'submitter', 'environment'] : ['node', 'submitter', 'environment', 'state']
  return order.filter((column) => query[column] !== undefined)
}

function levelsOf(query: TaskQuery): ('top' | 'items' | 'all')[] {
  if (query.batch !== undefined) return query.level === 'top' ? [] : ['items']
  if (query.level === 'top') return ['top']
  return filtersOf(query).length === 0 ? ['all'] : ['top', 'items']
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
