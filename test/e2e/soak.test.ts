import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SubmitBody, TaskDetails } from '#core/api/schemas.ts'
import { createDockerEngine } from '#core/engine/docker.ts'
import { isHakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { labels, type SharedPaths, sharedPaths } from '#core/paths.ts'
import { isFinal } from '#core/tasks/states.ts'
import { startAnchor } from '#test/engines/anchor.ts'
import { startTestEngine, type TestEngine, whyNoEngines } from '#test/engines/engine.ts'
import { type Cluster, startCluster, untilOnline } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { freePort } from '#simulator/free-port.ts'
import { createRandom } from '#simulator/random.ts'
import { startTcpProxy, type TcpProxy } from '#test/support/tcp-proxy.ts'

const missing = whyNoEngines()
if (missing) console.log(`the soak of faults is skipped: ${missing}`)

const SEED = Number(process.env['HAKURIVER_SOAK_SEED'] ?? 5)
const FAULTS = Number(process.env['HAKURIVER_SOAK_FAULTS'] ?? 1000)
const TASKS = Number(process.env['HAKURIVER_SOAK_TASKS'] ?? 500)
const NODES = ['storm-a', 'storm-b']
/** Runners are reached here, so that something stands between. */
const PROXY_ADDRESS = '127.0.0.2'

/** Notes its start, prints so many lines to both outputs, and ends with the code. */
const SCRIPT = 'echo start >> /shared/starts-$HAKURIVER_TASK_ID; i=0; while [ $i -lt $1 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); [ $((i % 20)) = 0 ] && sleep 0.05; done; exit $2'
/** Fails the first time. */
const SECOND_TRY = 'f=/shared/starts-$HAKURIVER_TASK_ID; echo start >> $f; [ $(wc -l < $f) -ge 2 ]'
const ENDLESS = 'echo start >> /shared/starts-$HAKURIVER_TASK_ID; exec sleep 3600'

/** What an Engine makes of a container that it ended itself, or whose end it missed, while it was restarted. */
const ENGINE_CODES = [255, 143, 137]

/** What a task must come to. */
interface Expected {
  id: string
  state: TaskDetails['state']
  exitCode?: number
  lines?: number
  starts: number
}

describe.skipIf(missing)('a cluster in a storm', () => {
  const environment = `soak-${createId().slice(-8)}`
  const random = createRandom(SEED)
  const proxies: TcpProxy[] = []
  const engines: TestEngine[] = []
  let cluster: Cluster
  let clock = ''
  let engineRestarts = 0

  beforeAll(async () => {
    for (const _ of NODES) engines.push(await startTestEngine())
    for (const { socketPath } of engines) {
      await ensureBusybox(socketPath)
      await startAnchor(createDockerEngine({ socketPath }))
    }
    const [first, second] = engines.map(({ socketPath }) => socketPath)
    const preload = new URL('../support/clock.cjs', import.meta.url).pathname
    clock = join(engines[0]?.directory ?? '', 'clock')
    writeFileSync(clock, '0')
    cluster = await startCluster({
      hostSocket: first ?? '',
      nodes: { 'storm-a': first ?? '', 'storm-b': second ?? '' },
      config: { timing: { heartbeat_interval: 0.5, heartbeat_timeout_factor: 6 } },
      env: { NODE_OPTIONS: `--require=${preload}`, HAKURIVER_TEST_CLOCK: clock },
      async nodeConfig(_hostname, ports) {
        const hostPort = await freePort()
        proxies.push(await startTcpProxy({ from: { address: PROXY_ADDRESS, port: ports.runner }, to: { address: '127.0.0.1', port: ports.runner } }))
        proxies.push(await startTcpProxy({ from: { address: PROXY_ADDRESS, port: hostPort }, to: { address: '127.0.0.1', port: ports.host } }))
        return { network: { host_port: hostPort, host_reachable_address: PROXY_ADDRESS, runner_port: ports.runner, runner_bind_ip: '127.0.0.1', runner_address: PROXY_ADDRESS } }
      },
    })
    await ok('hakuriver.docker', 'create-container', 'busybox:latest', environment)
    await ok('hakuriver.docker', 'create-tar', environment)
  }, 180_000)
  afterAll(async () => {
    await cluster?.stop()
    for (const proxy of proxies) await proxy.close()
    for (const engine of engines) await engine.stop()
  }, 120_000)

  async function ok(command: string, ...args: string[]): Promise<void> {
    const { code, stderr } = await cluster.run(command, args)
    expect(code, stderr).toBe(0)
  }

  /** As a careful client does: the same request until it is answered. */
  async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call()
      } catch (error) {
        if (!isHakuError(error, 'host.unreachable', 'host.stopping')) throw error
        await delay(50)
      }
    }
  }

  async function submit(body: Pick<SubmitBody, 'command'> & Partial<SubmitBody>): Promise<string> {
    const key = createId()
    const { tasks } = await untilAnswered(() => cluster.client.call('submitTask', { body: { environment, ...body, key } }))
    return tasks[0]?.id ?? ''
  }

  async function submitOne(): Promise<Expected[]> {
    const kind = random.below(20)
    const lines = random.below(200)
    if (kind === 0) {
      const id = await submit({ command: ['sh', '-c', ENDLESS], cores: 0 })
      const kill = () => untilAnswered(() => cluster.client.call('killTask', { params: { id } }))
      // At a random moment of its life: queued, on its way, running.
      void delay(random.below(3000)).then(kill)
      return [{ id, state: 'killed', starts: 1 }]
    }
    if (kind === 1) return [{ id: await submit({ command: ['sh', '-c', ENDLESS], cores: 0, timeLimitSeconds: 1, graceSeconds: 1 }), state: 'timed_out', starts: 1 }]
    if (kind === 2) return [{ id: await submit({ command: ['sh', '-c', SECOND_TRY], retries: 1 }), state: 'succeeded', starts: 2 }]
    if (kind === 3) {
      const batch = await submit({ command: ['sh', '-c', SCRIPT, 'sh', '%{index}', '0'], items: { kind: 'array', indexes: '1-10' }, parallel: 3 })
      return Array.from({ length: 10 }, (_, item) => ({ id: `${batch}.${item + 1}`, state: 'succeeded', exitCode: 0, lines: item + 1, starts: 1 }))
    }
    const exitCode = random.below(3) === 0 ? 1 + random.below(200) : 0
    const id = await submit({ command: ['sh', '-c', SCRIPT, 'sh', String(lines), String(exitCode)], cores: random.below(2) })
    return [{ id, state: exitCode === 0 ? 'succeeded' : 'failed', exitCode, lines, starts: 1 }]
  }

  const faults: { weight: number; strike(): Promise<void> | void }[] = [
    { weight: 70, strike: () => void random.pick(proxies).cut() },
    {
      weight: 13,
      async strike() {
        const hostname = random.pick(NODES)
        await cluster.runners[hostname]?.stop('SIGKILL')
        await cluster.startRunner(hostname)
      },
    },
    {
      weight: 9,
      async strike() {
        await cluster.host.stop('SIGKILL')
        await cluster.startHost()
      },
    },
    {
      weight: 1,
      async strike() {
        engineRestarts += 1
        await random.pick(engines).restart()
      },
    },
    { weight: 7, strike: () => writeFileSync(clock, String(random.below(172_800_000) - 86_400_000)) },
  ]

  function pickFault() {
    let left = random.below(faults.reduce((sum, { weight }) => sum + weight, 0))
    for (const fault of faults) if ((left -= fault.weight) < 0) return fault
    throw new Error('the weights do not sum up')
  }

  it(`of ${FAULTS} faults (seed ${SEED}): each of ${TASKS} tasks ends once, with its own exit code and all of its output, and nothing is left`, async () => {
    const expected: Expected[] = []
    const storm = async () => {
      for (let fault = 0; fault < FAULTS; fault += 1) {
        await pickFault().strike()
        await delay(random.below(150))
      }
    }
    const stream = async () => {
      while (expected.length < TASKS) {
        expected.push(...(await submitOne()))
        await delay(random.below(400))
      }
    }
    await Promise.all([storm(), stream()])
    writeFileSync(clock, '0')
    await untilOnline(cluster, NODES)

    const paths = sharedPaths(cluster.sharedDir, 'hakuriver-containers')
    const unlike: string[] = []
    const byEngine: string[] = []
    for (const wanted of expected) {
      const task = await cluster.client.call('getTask', { params: { id: wanted.id }, query: { wait: 60 }, timeoutMs: 90_000 })
      const differences = compare(task, wanted, paths)
      if (differences.length === 0) continue
      const story = `${task.id} ${differences.join(', ')}: ${JSON.stringify(task.events)}`
      if (ENGINE_CODES.includes(task.exitCode ?? 0) && task.exitCode !== wanted.exitCode) byEngine.push(story)
      else unlike.push(story)
    }
    expect(unlike).toEqual([])
    // Whoever ended in the seconds of a restart.
    expect(byEngine.length, byEngine.join('\n')).toBeLessThanOrEqual(engineRestarts * 4)

    const { items: nodes } = await cluster.client.call('listNodes', {})
    expect(nodes.map(({ coresReserved, memoryReservedBytes, tasks }) => [coresReserved, memoryReservedBytes, tasks])).toEqual(NODES.map(() => [0, 0, 0]))
    for (const { socketPath } of engines) {
      const engine = createDockerEngine({ socketPath })
      await expect.poll(() => engine.listContainers({ [labels.task]: undefined }), { timeout: 30_000 }).toEqual([])
    }
  }, 1_200_000)
})

// --- internal ---

/** In what a task is not as it must be. */
function compare(task: TaskDetails, { state, exitCode, lines, starts }: Expected, paths: SharedPaths): string[] {
  const startsFile = join(paths.data, `starts-${task.id}`)
  const started = existsSync(startsFile) ? readFileSync(startsFile, 'utf8').split('\n').length - 1 : 0
  const ends = task.events.filter(({ event }) => event !== 'lost' && isFinal(event as TaskDetails['state'])).length
  const printed = (channel: string) => Array.from({ length: lines ?? 0 }, (_, line) => `${channel} ${line}\n`).join('')
  const output = (file: string) => (lines === undefined ? '' : readFileSync(file, 'utf8'))
  const facts: Record<string, boolean> = {
    [`is ${task.state}, not ${state}`]: task.state === state,
    [`has ended ${ends} times`]: ends === 1,
    [`exit code ${task.exitCode}, not ${exitCode}`]: exitCode === undefined || task.exitCode === exitCode,
    // One that was killed before it began has none.
    [`${started} starts, not ${starts}`]: started === starts || (state === 'killed' && started < starts),
    'stdout differs': output(paths.stdout(task.id, task.instance)) === printed('out'),
    'stderr differs': output(paths.stderr(task.id, task.instance)) === printed('err'),
  }
  return Object.keys(facts).filter((fact) => !facts[fact])
}
