import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CompiledQuery, Kysely, sql, SqliteDialect } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodeTime } from 'ulid'
import { type TaskQuery, taskQuery } from '#core/api/schemas.ts'
import { connect } from '#core/database/connect.ts'
import { openDatabase } from '#core/database/open.ts'
import type { TaskState } from '#core/tasks/states.ts'
import { migrations } from '#server/database/migrations.ts'
import type { TaskRow, Tables } from '#server/database/tables.ts'
import { createTaskQueries, type TaskQueries } from '#server/queue/task-queries.ts'

const COUNT = 12_000
const directory = mkdtempSync(join(tmpdir(), 'hakuriver-pages-'))
const file = join(directory, 'host.db')
const asked: CompiledQuery[] = []
let database: Kysely<Tables>
let queries: TaskQueries

beforeAll(async () => {
  await (await openDatabase<Tables>(file, migrations)).destroy()
  database = new Kysely<Tables>({ dialect: new SqliteDialect({ database: connect(file) }), log: ({ query }) => void asked.push(query) })
  queries = createTaskQueries(database)
  await database.transaction().execute(async (transaction) => {
    for (let first = 0; first < COUNT; first += 300) await transaction.insertInto('tasks').values(stored.slice(first, first + 300)).execute()
    const specs = stored.filter(({ batch }) => batch === null).map(({ number }) => ({ number, spec: '{}', items: null }))
    for (let first = 0; first < specs.length; first += 300) await transaction.insertInto('task_specs').values(specs.slice(first, first + 300)).execute()
  })
})
afterAll(async () => {
  await database.destroy()
  rmSync(directory, { recursive: true })
})

describe('a page of the list', () => {
  it('has the newest that match, whatever is asked for', async () => {
    const wrong: TaskQuery[] = []
    for (const query of allQueries()) {
      const { items, nextCursor } = await queries.list(query)
      const expected = expectedNumbers(query)
      const page = expected.slice(0, query.limit)
      const isRight = JSON.stringify(items.map(({ number }) => number)) === JSON.stringify(page) && nextCursor === (expected.length > query.limit ? String(page.at(-1)) : null)
      if (!isRight) wrong.push(query)
    }
    expect(wrong).toEqual([])
  })

  it('leads to the next one, until all were listed', async () => {
    const query = taskQuery.parse({ node: 'n0', environment: 'e2', limit: 1 })
    const listed: number[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const { items, nextCursor } = await queries.list({ ...query, cursor })
      listed.push(...items.map(({ number }) => number))
      cursor = nextCursor
    }
    expect(listed.length).toBeGreaterThan(1)
    expect(listed).toEqual(expectedNumbers(query))
  })

  it('has no gap where one stretch of the list ends', async () => {
    const query = taskQuery.parse({ state: 'succeeded', submitter: 'u1', level: 'top', limit: 1000 })
    const { items } = await queries.list(query)
    expect(items.map(({ number }) => number)).toEqual(expectedNumbers(query).slice(0, 1000))
  })

  it('is looked for among those of the filter that matches the fewest', async () => {
    asked.length = 0
    await queries.list(taskQuery.parse({ state: 'running', environment: 'e0', submitter: 'u1' }))
    expect(asked.map((query) => /^SELECT number FROM tasks AS "tasks" INDEXED BY "(\w+)"/.exec(query.sql)?.[1]).filter(Boolean)).toEqual(['tasks_top_state', 'tasks_item_state'])
  })

  it('lets the Host do other things while it looks for what is rare', async () => {
    let turns = 0
    const count = () => {
      turns += 1
      next = setImmediate(count)
    }
    let next = setImmediate(count)
    await queries.list(taskQuery.parse({ node: 'n0', environment: 'e1' }))
    clearImmediate(next)
    expect(turns).toBeGreaterThan(0)
  })
})

describe.each([['nothing', false], ['all', true]])('a database of which SQLite counted %s', (_what, isCounted) => {
  beforeAll(async () => {
    if (isCounted) await sql`ANALYZE`.execute(database)
  })

  it('reads no page by going through all tasks, nor by sorting them', async () => {
    asked.length = 0
    for (const query of allQueries()) await queries.list(query)
    expect(await badPlans()).toEqual([])
  })

  it('finds what goes on, and what is out of sight, without going through all tasks', async () => {
    asked.length = 0
    const [unfinished, outOfSight] = [await queries.unfinished(), await queries.outOfSight()]
    expect(unfinished.map(({ number }) => number)).toEqual(stored.filter(({ state }) => state === 'running').map(({ number }) => number))
    expect(outOfSight.map(({ number }) => number)).toEqual(stored.filter(({ reason }) => reason === 'node_unreachable').map(({ number }) => number))
    await queries.itemsIn(31, ['failed'])
    await queries.itemIndexes(31)
    await queries.items(31)
    await queries.tally(31)
    await queries.newest()
    await queries.find(idOf(31))
    expect(await badPlans()).toEqual([])
  })
})

// --- internal ---

/** Of each hundred the first 30 are the items of a batch, which is the next one. Nodes and environments nearly exclude each other. */
const stored = Array.from({ length: COUNT }, (_, index) => toStored(index + 1))

function toStored(number: number): TaskRow {
  const place = number % 100
  const isItem = place >= 1 && place <= 30
  const isBatch = place === 31
  const batch = isItem ? number - place + 31 : null
  const node = number % 997 === 0 ? number + 1 : number
  const time = timeOf(number)
  return {
    number, id: batch === null ? idOf(number) : `${idOf(batch)}.${place}`, batch, item_index: isItem ? place : null, variables: null, state: stateOf(number), wish: 'run', reason: number % 1777 === 0 && !isBatch ? 'node_unreachable' : null, message: null,
    exit_code: null, instance: 1, node: isBatch ? null : `n${node % 4}`, target: null, environment: number % 4 === 0 ? null : `e${(number + 3) % 4}`, version: 1, submitter: `u${Math.floor(number / 2000) % 3}`, priority: 0, rank: number, retries_left: 0, not_before: null,
    gpu_ids: null, numa_node: null, submitted: time, started: time, finished: time, sequence: 1, stdout_bytes: 0, stderr_bytes: 0, size: isBatch ? 30 : null, pending: isBatch ? '' : null, unplaced: null, counts: isBatch ? '{}' : null, events: '[]',
  }
}

function stateOf(number: number): TaskState {
  if (number % 1777 === 0) return 'lost'
  if (number % 1500 === 40) return 'running'
  return number % 10 === 7 ? 'failed' : 'succeeded'
}

/** One a second. */
function timeOf(number: number): string {
  return new Date(1_700_000_000_000 + number * 1000).toISOString()
}

function idOf(number: number): string {
  return `${encodeTime(Date.parse(timeOf(number)), 10)}${String(number).padStart(16, '0')}`.toLowerCase()
}

/** All combinations of filters. */
function allQueries(): TaskQuery[] {
  const choices: [keyof TaskQuery, (string | undefined)[]][] = [
    ['state', [undefined, 'failed', 'running']], ['node', [undefined, 'n1']], ['environment', [undefined, 'e0', 'NULL']], ['submitter', [undefined, 'u1']],
    ['batch', [undefined, idOf(8031)]], ['since', [undefined, timeOf(4031)]], ['level', ['all', 'top']], ['cursor', [undefined, '8020']],
  ]
  let all: Record<string, string | undefined>[] = [{}]
  for (const [key, values] of choices) all = all.flatMap((query) => values.map((value) => ({ ...query, [key]: value })))
  return all.map((query) => taskQuery.parse({ limit: 7, ...query }))
}

/** The cheap truth. */
function expectedNumbers({ state, node, environment, submitter, batch, since, level, cursor }: TaskQuery): number[] {
  const conditions: ((row: TaskRow) => boolean)[] = [
    (row) => state === undefined || row.state === state,
    (row) => node === undefined || row.node === node,
    (row) => environment === undefined || row.environment === (environment === 'NULL' ? null : environment),
    (row) => submitter === undefined || row.submitter === submitter,
    (row) => batch === undefined || row.id.startsWith(`${batch}.`),
    // A batch's items are as old as it is.
    (row) => since === undefined || timeOf(row.batch ?? row.number) >= since,
    (row) => level === 'all' || row.batch === null,
    (row) => cursor === undefined || row.number < Number(cursor),
  ]
  return stored.filter((row) => conditions.every((condition) => condition(row))).map(({ number }) => number).toReversed()
}

/** Steps of what was asked that go through a table, an index or a part of either, or sort what could be read in its order. */
async function badPlans(): Promise<string[]> {
  const statements = new Map(asked.map((query) => [query.sql, query]))
  expect(statements.size).toBeGreaterThan(5)
  const found: string[] = []
  for (const query of statements.values()) {
    const { rows } = await database.executeQuery<{ detail: string }>({ ...query, sql: `EXPLAIN QUERY PLAN ${query.sql}` })
    found.push(...rows.filter(({ detail }) => isBad(detail, query.sql)).map(({ detail }) => `${detail}: ${query.sql}`))
  }
  return found
}

function isBad(detail: string, statement: string): boolean {
  // What stands in the statement itself may be gone through.
  if (/^SCAN (?!json_each\b|CONSTANT ROW)/.test(detail) || /^USE TEMP B-TREE FOR (?:LAST TERM OF )?ORDER BY/.test(detail)) return true
  // Of a filter's rows each one is found: where only a range of numbers is, the others are gone through.
  const hasFilter = /\b(?:state|node|environment|submitter)"? (?:=|IN|IS)/i.test(statement)
  return hasFilter && detail.startsWith('SEARCH') && !/=\?/.test(detail)
}
