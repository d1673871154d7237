import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TaskDetails } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { labels, sharedPaths, taskContainerName } from '#core/paths.ts'
import { type Cluster, startCluster, untilOnline } from '#test/support/cluster.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { createRandom } from '#simulator/random.ts'

/** How long a Runner is killed again and again. */
const STORM_MS = 1000 * Number(process.env['HAKURIVER_CRASH_SECONDS'] ?? 300)
/** Notes its start and that it lives, for ever. */
const HEART = (directory: string) => `echo start >> ${directory}/starts-$HAKURIVER_TASK_ID; while :; do echo beat; sleep 0.2; done`

describe.skipIf(engineMissing)('a cluster that is restarted', () => {
  const name = `restart-${createId().slice(-8)}`
  let cluster: Cluster
  let data = ''

  beforeAll(async () => {
    await ensureBusybox(socketPath)
    cluster = await startCluster({ hostSocket: socketPath, nodes: { [name]: socketPath }, config: { timing: { heartbeat_interval: 1, heartbeat_timeout_factor: 60 }, runner: { plain_processes: true } } })
    data = sharedPaths(cluster.sharedDir, 'hakuriver-containers').data
    for (const [command, ...args] of [['create-container', 'busybox:latest', name], ['create-tar', name]] as const) {
      const { code, stderr } = await cluster.run('hakuriver.docker', [command, ...args])
      expect(code, stderr).toBe(0)
    }
  }, 120_000)
  afterAll(async () => {
    await cluster?.client.call('deleteContainer', { params: { name } })
    await cluster?.stop()
    // A test that failed leaves some.
    for (const { id } of await testEngine().listContainers({ [labels.task]: undefined, [labels.node]: name })) await testEngine().removeContainer(id)
    await testEngine().removeImage(`hakuriver/${name}:base`)
  }, 60_000)

  async function submit(body: { command: string[]; environment: string | null; cores?: number }): Promise<string> {
    const { tasks } = await cluster.client.call('submitTask', { body: { cores: 0, ...body } })
    return tasks[0]?.id ?? ''
  }

  const get = (id: string) => cluster.client.call('getTask', { params: { id } })

  async function untilRunning(id: string): Promise<TaskDetails> {
    await expect.poll(async () => (await get(id)).state, { timeout: 30_000 }).toBe('running')
    return get(id)
  }

  async function restartRunner(): Promise<void> {
    await cluster.runners[name]?.stop('SIGKILL')
    await cluster.startRunner(name)
  }

  it('kill -9 of the Runner, ten times and then at random: the same container, the same process, no second start', async () => {
    const inContainer = await submit({ command: ['sh', '-c', HEART('/shared')], environment: name })
    const plain = await submit({ command: ['sh', '-c', `echo $$ > ${data}/pid; ${HEART(data)}`], environment: null })
    await Promise.all([untilRunning(inContainer), untilRunning(plain)])
    const containerOf = async () => {
      const found = await testEngine().inspectContainer(taskContainerName(inContainer, 1))
      return { id: found?.id, status: found?.status, started: found?.started }
    }
    const before = await containerOf()
    expect(before.status).toBe('running')
    const pid = Number(readFileSync(join(data, 'pid'), 'utf8'))

    const stillTheSame = async () => {
      expect(await containerOf()).toEqual(before)
      expect(process.kill(pid, 0)).toBe(true)
    }
    for (let round = 0; round < 10; round += 1) {
      await restartRunner()
      await stillTheSame()
    }
    const random = createRandom(11)
    for (const end = Date.now() + STORM_MS; Date.now() < end; ) {
      // A moment is a moment: there is no event to wait for.
      await delay(1500 + random.below(6000))
      await restartRunner()
      await stillTheSame()
    }
    await untilOnline(cluster, [name])
    for (const id of [inContainer, plain]) {
      expect(await get(id)).toMatchObject({ state: 'running', instance: 1 })
      expect(readFileSync(join(data, `starts-${id}`), 'utf8')).toBe('start\n')
      await cluster.client.call('killTask', { params: { id } })
      expect(await cluster.client.call('getTask', { params: { id }, query: { wait: 60 }, timeoutMs: 90_000 })).toMatchObject({ state: 'killed' })
    }
    expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  }, STORM_MS + 180_000)

  it.each(['Host', 'Runner'])('a %s that is killed while 50 tasks run and 500 wait goes on as if nothing had been', async (which) => {
    const { tasks: [batch] } = await cluster.client.call('submitTask', {
      body: { command: ['sh', '-c', 'echo start >> /shared/starts-$HAKURIVER_TASK_ID; while [ ! -e /shared/go-$0 ]; do sleep 0.3; done; exit $(( $1 % 2 ))', which, '%{index}'], environment: name, cores: 0, items: { kind: 'array', indexes: '1-550' }, parallel: 50 },
    })
    const id = batch?.id ?? ''
    await expect.poll(async () => (await get(id)).items?.counts.running, { timeout: 60_000 }).toBe(50)
    if (which === 'Host') {
      await cluster.host.stop('SIGKILL')
      await cluster.startHost()
    } else {
      await restartRunner()
    }
    await untilOnline(cluster, [name])
    expect((await get(id)).items).toMatchObject({ size: 550, counts: { running: 50, queued: 500 } })
    expect((await testEngine().listContainers({ [labels.task]: undefined, [labels.node]: name })).filter(({ status }) => status === 'running')).toHaveLength(50)
    // Half of the rest is enough to see that they go on.
    await cluster.client.call('submitTask', { body: { command: ['touch', `/shared/go-${which}`], environment: name, cores: 0, priority: 100 } })
    await expect.poll(async () => (await get(id)).items?.counts.succeeded ?? 0, { timeout: 120_000, interval: 500 }).toBeGreaterThan(100)
    await cluster.client.call('killTask', { params: { id } })
    const ended = await cluster.client.call('getTask', { params: { id }, query: { wait: 60 }, timeoutMs: 90_000 })
    expect(ended.items?.pending).toBe('')
    const { items: done } = await cluster.client.call('listTasks', { query: { batch: id, limit: 1000, state: 'succeeded' } })
    expect(done.length).toBeGreaterThan(100)
    for (const item of done) expect(readFileSync(join(data, `starts-${item.id}`), 'utf8')).toBe('start\n')
    await expect.poll(() => testEngine().listContainers({ [labels.task]: undefined, [labels.node]: name }), { timeout: 60_000 }).toEqual([])
  }, 300_000)
})
