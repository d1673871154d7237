import type { TaskQuery } from '#core/api/schemas.ts'
import { percentile } from '#simulator/percentile.ts'
import { type Result, timed } from '../statistics.ts'
import { type BenchHost, withHost } from './host.ts'
import { fillWithTasks, STORED } from './stored-tasks.ts'

const PAGES = 200
const LIMIT_MS = 20

type Query = Partial<TaskQuery>

/** Pages of the task list with each filter among a million of stored tasks, over HTTP: the first page, and pages deep in the list. */
export async function measureList(distDir: string): Promise<Result[]> {
  return withHost(distDir, async (bench) => {
    const batch = `${'01h'}${String(500_301).padStart(23, '0')}`
    const queries: [string, Query][] = [
      ['all', {}],
      ['top', { level: 'top' }],
      ['most by state', { state: 'succeeded' }],
      ['few by state', { state: 'killed' }],
      ['node', { node: 'node77' }],
      ['environment', { environment: 'environment7' }],
      ['submitter', { submitter: 'user7' }],
      ['batch', { batch }],
      ['since', { since: '2021-09-01T00:00:00.000Z' }],
      ['state and node', { state: 'failed', node: 'node77' }],
      ['state and batch', { state: 'failed', batch }],
      ['environment and submitter, top', { environment: 'environment7', submitter: 'user7', level: 'top' }],
      ['state, node, since, top', { state: 'succeeded', node: 'node77', since: '2021-01-01T00:00:00.000Z', level: 'top' }],
    ]
    const results: Result[] = []
    for (const [name, query] of queries) results.push(await measurePages(bench, name, query))
    return results
  }, fillWithTasks)
}

// --- internal ---

async function measurePages({ client }: BenchHost, name: string, query: Query): Promise<Result> {
  const cursors = await someCursors(client, query)
  const times: number[] = []
  for (let page = 0; page < PAGES; page += 1) {
    const cursor = cursors[page % cursors.length]
    times.push(await timed(() => client.call('listTasks', { query: { ...query, ...(cursor !== undefined && { cursor }) } })))
  }
  const ours = percentile(times, 99)
  return { what: `page of ${STORED.tasks / 1e6} million tasks, ${name}: p99`, raw: 0, ours, unit: 'ms', ratio: NaN, target: `≤ ${LIMIT_MS} ms`, met: ours <= LIMIT_MS }
}

/** Of the first page, of those that follow it, and of places all over the list. */
async function someCursors(client: BenchHost['client'], query: Query): Promise<(string | undefined)[]> {
  const cursors: (string | undefined)[] = [undefined]
  for (let at = 0; at < 9; at += 1) {
    const cursor = cursors.at(-1)
    const { nextCursor } = await client.call('listTasks', { query: { ...query, ...(cursor !== undefined && { cursor }) } })
    if (nextCursor === null) break
    cursors.push(nextCursor)
  }
  // A cursor is the place of a task in the list.
  const deep = Array.from({ length: 9 }, (_, index) => String(((index + 1) * STORED.tasks) / 10 + 400))
  return [...cursors, ...deep]
}
