import type { TaskQuery } from '#core/api/schemas.ts'
import { percentile } from '#simulator/percentile.ts'
import { median, type Result, timed } from '../statistics.ts'
import { type BenchHost, withHost } from './host.ts'
import { fillWithTasks, STORED } from './stored-tasks.ts'

const PAGES = 500
const LIMIT_MS = 20

type Query = Partial<TaskQuery>

/** Pages of the task list with each filter among a million of stored tasks, over HTTP: the first page, and pages from places all over the list. */
export async function measureList(distDir: string): Promise<Result[]> {
  return withHost(distDir, async (bench) => {
    const batch = `${'01h'}${String(500_301).padStart(23, '0')}`
    const queries: [string, Query][] = [
      ['all', {}],
      ['top', { level: 'top' }],
      ['most by state', { state: 'succeeded' }],
      ['few by state', { state: 'killed' }],
      ['none by state', { state: 'running' }],
      ['node', { node: 'node77' }],
      ['environment', { environment: 'environment7' }],
      ['submitter', { submitter: 'user75' }],
      ['batch', { batch }],
      ['since', { since: '2021-09-01T00:00:00.000Z' }],
      ['state and node', { state: 'failed', node: 'node77' }],
      ['state and environment', { state: 'failed', environment: 'environment7' }],
      ['state and submitter', { state: 'killed', submitter: 'user75' }],
      ['state and batch', { state: 'failed', batch }],
      ['node and environment', { node: 'node77', environment: 'environment7' }],
      ['node and submitter', { node: 'node77', submitter: 'user75' }],
      ['environment and submitter', { environment: 'environment7', submitter: 'user75' }],
      ['environment and submitter, none', { environment: 'environment7', submitter: 'user8' }],
      ['environment and submitter, top, none', { environment: 'environment7', submitter: 'user8', level: 'top' }],
      ['state, node, since, top', { state: 'succeeded', node: 'node77', since: '2021-01-01T00:00:00.000Z', level: 'top' }],
      ['state, node, environment, submitter', { state: 'failed', node: 'node77', environment: 'environment7', submitter: 'user75' }],
    ]
    const results: Result[] = []
    for (const [name, query] of queries) results.push(await measurePages(bench, name, query))
    return results
  }, fillWithTasks)
}

// --- internal ---

async function measurePages({ client }: BenchHost, name: string, query: Query): Promise<Result> {
  const times: number[] = []
  for (let page = 0; page < PAGES; page += 1) {
    // A cursor is the place of a task in the list.
    const cursor = page === 0 ? {} : { cursor: String(1 + Math.floor(Math.random() * STORED.tasks)) }
    times.push(await timed(() => client.call('listTasks', { query: { ...query, ...cursor } })))
  }
  const ours = percentile(times, 99)
  return { what: `page of ${STORED.tasks / 1e6} million tasks, ${name}: p99 (p50 ${median(times).toFixed(1)}, max ${Math.max(...times).toFixed(1)})`, raw: 0, ours, unit: 'ms', ratio: NaN, target: `≤ ${LIMIT_MS} ms`, met: ours <= LIMIT_MS }
}
