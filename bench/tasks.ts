import type { HostApi } from '#core/api/host.ts'
import type { SubmitBody, Task } from '#core/api/schemas.ts'
import type { Client } from '#core/client/client.ts'
import type { Cluster } from '#test/support/cluster.ts'
import { type RawEngine, rawTask } from './raw-engine.ts'
import { median, ratioResult, type Result, timed } from './statistics.ts'

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
  await mustSucceed(bench)
  for (let round = 0; round < rounds; round++) {
    raw.push(await timed(() => rawTask(bench.engine, bench.image, ['true'])))
    ours.push(await timed(() => mustSucceed(bench)))
  }
  return ratioResult('submit → finished of true, warm', median(raw), median(ours), { unit: 'ms', atMost: 1.15 })
}

/** 8 at a time, in tasks per second. */
export async function measureParallel(bench: TaskBench, rounds: number): Promise<Result> {
  const eight = (work: () => Promise<unknown>) => timed(() => Promise.all(Array.from({ length: 8 }, work)))
  const raw: number[] = []
  const ours: number[] = []
  for (let round = 0; round < rounds; round++) {
    raw.push(8000 / (await eight(() => rawTask(bench.engine, bench.image, ['true']))))
    ours.push(8000 / (await eight(() => mustSucceed(bench))))
  }
  return ratioResult('8 tasks in parallel', median(raw), median(ours), { unit: 'tasks/s', atLeast: 0.9 })
}

/** Runs `true` to its end. It reserves no cores: else a small machine would run several one after the other. */
export async function runTask(client: Client<HostApi>, body: Partial<SubmitBody> & Pick<SubmitBody, 'environment'>): Promise<Task> {
  const { tasks: [task] } = await client.call('submitTask', { body: { command: ['true'], cores: 0, ...body } })
  return client.call('getTask', { params: { id: task?.id ?? '' }, query: { wait: 60 } })
}

// --- internal ---

async function mustSucceed({ cluster, node, environment }: TaskBench): Promise<void> {
  const { state, message } = await runTask(cluster.client, { environment, targets: [node] })
  if (state !== 'succeeded') throw new Error(`the task ended ${state}: ${message}`)
}
