import { median } from '#simulator/percentile.ts'
import type { Cluster } from '#test/support/cluster.ts'
import { type RawEngine, rawTask } from './raw-engine.ts'
import { ratioResult, type Result, timed } from './statistics.ts'

export interface TaskBench {
  cluster: Cluster
  /** Of the node's Engine. */
  engine: RawEngine
  node: string
  environment: string
  image: string
}

/** submit → finished of `true`, the environment being loaded already; turn by turn with the raw Engine. */
export async function measureSubmit(bench: TaskBench, rounds: number): Promise<Result> {
  const raw: number[] = []
  const ours: number[] = []
  await runTask(bench)
  for (let round = 0; round < rounds; round++) {
    raw.push(await timed(() => rawTask(bench.engine, bench.image, ['true'])))
    ours.push(await timed(() => runTask(bench)))
  }
  return ratioResult('submit → finished of true', median(raw), median(ours), { unit: 'ms', atMost: 1.25 })
}

/** 8 at a time, in tasks per second. They reserve no cores: else a small machine would run them one after the other. */
export async function measureParallel(bench: TaskBench, rounds: number): Promise<Result> {
  const eight = (work: () => Promise<unknown>) => timed(() => Promise.all(Array.from({ length: 8 }, work)))
  const raw: number[] = []
  const ours: number[] = []
  for (let round = 0; round < rounds; round++) {
    raw.push(8000 / (await eight(() => rawTask(bench.engine, bench.image, ['true']))))
    ours.push(8000 / (await eight(() => runTask(bench))))
  }
  return ratioResult('8 tasks in parallel', median(raw), median(ours), { unit: 'tasks/s', atLeast: 0.9 })
}

// --- internal ---

async function runTask({ cluster, node, environment }: TaskBench): Promise<void> {
  const { tasks: [task] } = await cluster.client.call('submitTask', { body: { command: ['true'], environment, targets: [node], cores: 0 } })
  const ended = await cluster.client.call('getTask', { params: { id: task?.id ?? '' }, query: { wait: 60 } })
  if (ended.state !== 'succeeded') throw new Error(`the task ended ${ended.state}: ${ended.message}`)
}
