import { setImmediate } from 'node:timers/promises'
import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { TaskState } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'

/** Finds tasks by their numbers, from indexes alone. Each index is named: SQLite would guess which one has the fewest rows, and it counts none. */

const filterColumns = ['state', 'node', 'environment', 'submitter'] as const
type Filters = Partial<Record<(typeof filterColumns)[number], string | null>>
/** `top`: batches and tasks that belong to none. Each level has indexes of its own. */
type Level = 'top' | 'items'

export interface NumbersQuery {
  levels: readonly Level[]
  filters: Filters
  /** The least number. */
  from: number
  /** Numbers are less than this one. */
  before: number
  limit: number
}

/**
 * The greatest numbers of those that all filters match, in falling order. For several filters the list is read in stretches: in each the filter that
 * matches the fewest there is walked, and between them the Host does other things.
 */
export async function findNumbers(database: Kysely<Tables>, query: NumbersQuery): Promise<number[]> {
  const { levels, from, before, limit } = query
  const filters = filterColumns.flatMap((column) => (query.filters[column] === undefined ? [] : [{ column, value: query.filters[column] }]))
  if (filters.length === 0) return findUnfiltered(database, query)
  const numbers: number[] = []
  let end = before
  for (let rows = FIRST_STRETCH; end > from && numbers.length < limit; rows = Math.min(rows * 2, LONGEST_STRETCH)) {
    if (end < before) await setImmediate()
    const walks: Walk[] = []
    for (const level of levels) walks.push(filters.length === 1 ? { level, filters, reach: from } : await planWalk(database, { level, filters, from, before: end, rows }))
    const start = Math.max(...walks.map(({ reach }) => reach))
    const found: number[] = []
    for (const walk of walks) found.push(...(await walkIndex(database, walk, { from: start, before: end, limit: limit - numbers.length })))
    numbers.push(...found.sort((left, right) => right - left).slice(0, limit - numbers.length))
    end = start
  }
  return numbers
}

export async function numbersInStates(database: Kysely<Tables>, states: readonly TaskState[]): Promise<number[]> {
  const halves = (['top', 'items'] as const).map((level) => sql`SELECT number FROM tasks INDEXED BY ${indexOf(level, 'state')} WHERE ${isOf(level)} AND state IN (${sql.join([...states])})`)
  return numbersOf(await sql<Found>`${sql.join(halves, sql` UNION ALL `)}`.execute(database))
}

// --- internal ---

/** In rows of the filter that matches the fewest. The first mostly fills a page; the longest takes a few milliseconds. */
const FIRST_STRETCH = 1000
const LONGEST_STRETCH = 4000

interface Filter {
  column: keyof Filters
  value: string | null
}
interface Walk {
  level: Level
  /** The first one's index is walked; those of the others are asked for each number in it. */
  filters: readonly Filter[]
  /** How far down. */
  reach: number
}
interface Found {
  number: number
}

async function findUnfiltered(database: Kysely<Tables>, { levels, from, before, limit }: NumbersQuery): Promise<number[]> {
  const source = levels.includes('items') ? sql`tasks NOT INDEXED WHERE` : sql`tasks INDEXED BY tasks_top WHERE batch IS NULL AND`
  return numbersOf(await sql<Found>`SELECT number FROM ${source} number < ${before} AND number >= ${from} ORDER BY number DESC LIMIT ${limit}`.execute(database))
}

/** Looks how far down so many rows of each filter reach: the farther, the fewer it matches. */
async function planWalk(database: Kysely<Tables>, { level, filters, from, before, rows }: Omit<Walk, 'reach'> & { from: number; before: number; rows: number }): Promise<Walk> {
  const reaches = filters.map((filter) => sql`(SELECT number ${matches(level, filter)} AND number < ${before} AND number >= ${from} ORDER BY number DESC LIMIT 1 OFFSET ${rows - 1}) AS ${sql.ref(filter.column)}`)
  const { rows: [found] } = await sql<Record<keyof Filters, number | null>>`SELECT ${sql.join(reaches)}`.execute(database)
  const reachOf = ({ column }: Filter): number => found?.[column] ?? from
  return { level, filters: filters.toSorted((left, right) => reachOf(left) - reachOf(right)), reach: Math.min(...filters.map(reachOf)) }
}

async function walkIndex(database: Kysely<Tables>, { level, filters: [walked, ...others] }: Walk, { from, before, limit }: { from: number; before: number; limit: number }): Promise<number[]> {
  if (!walked) return []
  const conditions = others.map((filter) => sql`AND EXISTS (SELECT 1 ${matches(level, filter, 'other')} AND other.number = tasks.number)`)
  return numbersOf(await sql<Found>`SELECT number ${matches(level, walked)} AND number < ${before} AND number >= ${from} ${sql.join(conditions, sql` `)} ORDER BY number DESC LIMIT ${limit}`.execute(database))
}

/** Where one filter's tasks are. */
function matches(level: Level, { column, value }: Filter, alias = 'tasks'): RawBuilder<unknown> {
  return sql`FROM tasks AS ${sql.ref(alias)} INDEXED BY ${indexOf(level, column)} WHERE ${isOf(level, alias)} AND ${sql.ref(`${alias}.${column}`)} ${value === null ? sql`IS NULL` : sql`= ${value}`}`
}

function indexOf(level: Level, column: keyof Filters): RawBuilder<unknown> {
  return sql.ref(level === 'top' ? `tasks_top_${column}` : `tasks_item_${column}`)
}

/** As the indexes' conditions have it. */
function isOf(level: Level, table = 'tasks'): RawBuilder<unknown> {
  return level === 'top' ? sql`${sql.ref(`${table}.batch`)} IS NULL` : sql`${sql.ref(`${table}.batch`)} IS NOT NULL`
}

function numbersOf({ rows }: { rows: readonly Found[] }): number[] {
  return rows.map(({ number }) => number)
}
