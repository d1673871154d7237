import { startTestEngine } from '#test/engines/engine.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { must, stopCluster } from '../commands.ts'
import { createRawEngine, type RawEngine, rawTask } from '../raw-engine.ts'
import { median, ratioResult, type Result, timed } from '../statistics.ts'
import { measureSubmit, runTask } from '../tasks.ts'

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
    const engine = createRawEngine(hostSocket)
    const rate = await measureRate(cluster, [engine, createRawEngine(second.socketPath)])
    const latency = await measureSubmit({ cluster, engine, node: 'one', environment: ENVIRONMENT, image: IMAGE }, WARM_ROUNDS)
    return [...rate, { ...latency, what: `${latency.what}, two Runners` }, await measurePack(cluster)]
  } finally {
    if (cluster) await stopCluster(cluster, ENVIRONMENT)
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
      if ((await runTask(client, { environment: ENVIRONMENT })).state !== 'succeeded') failed += 1
    }))))
  }
  return [
    ratioResult(`${TASKS} tasks, ${CLIENTS} clients, two Runners`, median(rates.raw), median(rates.ours), { unit: 'tasks/s', atLeast: 0.9 }),
    { what: 'of them failed', raw: 0, ours: failed, unit: '', ratio: NaN, target: '0', met: failed === 0 },
  ]
}

/** An array of short items: a container for each against one for all. */
async function measurePack({ client }: Cluster): Promise<Result> {
  const items = (pack: boolean) => seconds(() => runTask(client, { environment: ENVIRONMENT, items: { kind: 'array', indexes: `1-${ITEMS}` }, pack }))
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
