import type { HostApi } from '#core/api/host.ts'
import type { SubmitBody } from '#core/api/schemas.ts'
import type { Client } from '#core/client/client.ts'
import { median } from '#simulator/percentile.ts'
import { startTestEngine } from '#test/engines/engine.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { must } from '../commands.ts'
import { createRawEngine, type RawEngine, rawTask } from '../raw-engine.ts'
import { ratioResult, type Result, timed } from '../statistics.ts'

const ENVIRONMENT = 'hakuriver-bench-queue'
const IMAGE = 'busybox:latest'
const CLIENTS = 8
const TASKS = 200
const ROUNDS = 3
const WARM_ROUNDS = 25
const ITEMS = 100

/** Real tasks on two Runners, each with an Engine of its own, against containers made by hand on the same Engines, turn by turn. */
export async function measureTwoRunners(hostSocket: string): Promise<Result[]> {
  const second = await startTestEngine()
  let cluster: Cluster | undefined
  try {
    await ensureBusybox(second.socketPath)
    cluster = await startCluster({ hostSocket, nodes: { one: hostSocket, two: second.socketPath } })
    await must(cluster, 'hakuriver.docker', ['create-container', '--if-not-exists', IMAGE, ENVIRONMENT])
    await must(cluster, 'hakuriver.docker', ['create-tar', ENVIRONMENT])
    await must(cluster, 'hakuriver', ['env', 'prefetch', ENVIRONMENT, '--all'])
    const engines = [createRawEngine(hostSocket), createRawEngine(second.socketPath)]
    return [...(await measureRate(cluster, engines)), await measureLatency(cluster, engines), await measurePack(cluster)]
  } finally {
    await cluster?.client.call('deleteContainer', { params: { name: ENVIRONMENT } }).catch(() => undefined)
    await cluster?.stop()
    await second.stop()
  }
}

// --- internal ---

async function measureRate({ client }: Cluster, engines: readonly RawEngine[]): Promise<Result[]> {
  const rates = { raw: [] as number[], ours: [] as number[] }
  let failed = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    rates.raw.push(TASKS / (await seconds(() => byClients(TASKS, (index) => rawTask(engines[index % 2] as RawEngine, IMAGE, ['true'])))))
    rates.ours.push(TASKS / (await seconds(() => byClients(TASKS, async () => {
      if ((await runTask(client, {})) !== 'succeeded') failed += 1
    }))))
  }
  return [
    ratioResult(`${TASKS} tasks, ${CLIENTS} clients, two Runners`, median(rates.raw), median(rates.ours), { unit: 'tasks/s', atLeast: 0.9 }),
    { what: 'of them failed', raw: 0, ours: failed, unit: '', ratio: NaN, target: '0', met: failed === 0 },
  ]
}

async function measureLatency({ client }: Cluster, [engine]: readonly RawEngine[]): Promise<Result> {
  const raw: number[] = []
  const ours: number[] = []
  for (let round = 0; round < WARM_ROUNDS; round += 1) {
    raw.push(await timed(() => rawTask(engine as RawEngine, IMAGE, ['true'])))
    ours.push(await timed(() => runTask(client, { targets: ['one'] })))
  }
  return ratioResult('submit → finished of true, warm', median(raw), median(ours), { unit: 'ms', atMost: 1.15 })
}

/** An array of short items: a container for each against one for all. */
async function measurePack({ client }: Cluster): Promise<Result> {
  const items = (pack: boolean) => seconds(() => runTask(client, { items: { kind: 'array', indexes: `1-${ITEMS}` }, pack, targets: [], cores: 0 }))
  // The first one makes the container.
  const apart: number[] = []
  const packed: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    apart.push(ITEMS / (await items(false)))
    packed.push(ITEMS / (await items(true)))
  }
  return { ...ratioResult(`array of ${ITEMS}, --pack against a container for each`, median(apart), median(packed), { unit: 'items/s', atLeast: 2.5 }), target: '≥ 2.5 × without' }
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  return (await timed(work)) / 1000
}

async function byClients(tasks: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: CLIENTS }, async () => {
    while (next < tasks) await work(next++)
  }))
}

/** Resolves to the state in which it ended. They reserve no cores: else a small machine would run them one after the other. */
async function runTask(client: Client<HostApi>, body: Partial<SubmitBody>): Promise<string> {
  const { tasks: [task] } = await client.call('submitTask', { body: { command: ['true'], environment: ENVIRONMENT, cores: 0, ...body } })
  const { state } = await client.call('getTask', { params: { id: task?.id ?? '' }, query: { wait: 60 } })
  return state
}
