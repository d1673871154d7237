import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readEvents } from '#core/client/events.ts'
import type { Environment, Operation } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'
import { type Cluster, startCluster, untilOnline } from '#test/support/cluster.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { createRandom } from '#simulator/random.ts'
import { ensureBusybox } from '#test/support/images.ts'

/** So many new bytes that every phase of their packaging is seen. */
const LARGE = 150_000_000

describe.skipIf(engineMissing)('a process that is killed', () => {
  const name = `crash-${createId().slice(-8)}`
  const interrupted: string[] = []
  let cluster: Cluster

  beforeAll(async () => {
    await ensureBusybox(socketPath)
    cluster = await startCluster({ hostSocket: socketPath, nodes: { [name]: socketPath } })
    await ok('hakuriver.docker', 'create-container', 'busybox:latest', name)
    expect((await cluster.run('hakuriver.docker-shell', [name], { input: 'head -c 150000000 /dev/urandom > /ballast\n' })).code).toBe(0)
    await ok('hakuriver.docker', 'create-tar', name)
  }, 120_000)
  afterAll(async () => {
    await cluster?.client.call('deleteContainer', { params: { name } })
    await cluster?.stop()
    await testEngine().removeImage(`hakuriver/${name}:base`)
  })

  async function ok(command: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await cluster.run(command, args)
    expect(code, stderr).toBe(0)
    return stdout
  }

  /** Enough new bytes that packaging and loading take a while. */
  async function change(bytes = 40_000_000): Promise<void> {
    expect((await cluster.run('hakuriver.docker-shell', [name], { input: `head -c ${bytes} /dev/urandom > /change\n` })).code).toBe(0)
  }

  const tarballs = () => readdirSync(join(cluster.sharedDir, 'hakuriver-containers')).toSorted()

  const listTars = async () => JSON.parse(await ok('hakuriver.docker', 'list-tars', '--json')) as Environment[]

  /** Resolves once the operation is in the phase, with bytes where `bytes` says so. */
  async function reached(id: string, phase: string, bytes: number): Promise<void> {
    const stream = await cluster.client.stream('followOperation', { params: { id } })
    for await (const { progress, state } of readEvents<Operation>(stream)) {
      if (progress.phase === phase && (progress.bytes ?? 0) >= bytes) return
      if (state !== 'running') throw new Error(`ended ${state} before it was seen in ${phase}`)
    }
  }

  it.each([['stop', 0], ['capture', 0], ['write', 1]])('the Host in the middle of create-tar (%s): the version before stays, the container runs', async (phase, bytes) => {
    await change(LARGE)
    const before = tarballs()
    const { id } = await cluster.client.call('createVersion', { params: { name }, body: {} })
    interrupted.push(id)
    await reached(id, phase, bytes)
    await cluster.host.stop('SIGKILL')
    await cluster.startHost()
    expect(tarballs()).toEqual(before)
    const [environment] = await listTars()
    expect(environment?.older).toEqual([])
    expect((await cluster.client.call('getContainer', { params: { name } })).status).toBe('running')
    expect(await cluster.client.call('getOperation', { params: { id } })).toMatchObject({ state: 'failed', error: { code: 'operation.interrupted' } })
  }, 60_000)

  it('the Host at 30 random moments of create-tar: only whole versions are ever listed, and the newest runs', async () => {
    const random = createRandom(7)
    const printed: string[] = []
    await change()
    const started = Date.now()
    await ok('hakuriver.docker', 'create-tar', name)
    const duration = Date.now() - started
    for (let round = 0; round < 30; round += 1) {
      if (round % 5 === 0) await change()
      const { id } = await cluster.client.call('createVersion', { params: { name }, body: { keep: 2 } })
      interrupted.push(id)
      // A moment is a moment: there is no event to wait for.
      await delay(random.below(1.2 * duration))
      await cluster.host.stop('SIGKILL')
      await cluster.startHost()
      const [environment] = await listTars()
      const versions = [environment?.latest, ...(environment?.older ?? [])].flatMap((version) => version ?? [])
      expect(tarballs(), `round ${round}`).toEqual(versions.flatMap(({ version }) => [`${name}-${version}.json`, `${name}-${version}.tar`]).toSorted())
      expect((await cluster.client.call('getContainer', { params: { name } })).status, `round ${round}`).toBe('running')
      expect(existsSync(join(cluster.directory, 'host', 'spool')), `round ${round}`).toBe(false)
      if (round % 10 === 9) printed.push(await ok('hakuriver.task', 'submit', '--container', name, '--wait', '--', 'sh', '-c', 'wc -c < /ballast'))
    }
    expect(printed).toEqual(Array.from({ length: 3 }, () => '150000000\n'))
  }, 300_000)

  it('the Runner at 30 random moments of loading a version: the task runs in it all the same, and nothing is left', async () => {
    await untilOnline(cluster, [name])
    const random = createRandom(8)
    for (let round = 0; round < 30; round += 1) {
      await change(10_000_000)
      await ok('hakuriver.docker', 'create-tar', name)
      const { tasks: [task] } = await cluster.client.call('submitTask', { body: { command: ['sh', '-c', 'wc -c < /change'], environment: name } })
      await delay(random.below(500))
      await cluster.runners[name]?.stop('SIGKILL')
      await cluster.startRunner(name)
      const ended = await cluster.client.call('getTask', { params: { id: task?.id ?? '' }, query: { wait: 60 }, timeoutMs: 90_000 })
      expect(ended, `round ${round}`).toMatchObject({ state: 'succeeded' })
    }
    await expect.poll(() => testEngine().listContainers({ [labels.node]: name }), { timeout: 20_000 }).toEqual([])
  }, 300_000)

  it('the Host told to stop in the middle of create-tar undoes it, and exits 0', async () => {
    await change(LARGE)
    const before = tarballs()
    const { id } = await cluster.client.call('createVersion', { params: { name }, body: {} })
    await reached(id, 'capture', 0)
    expect(await cluster.host.stop('SIGTERM')).toBe(0)
    expect(tarballs()).toEqual(before)
    expect((await testEngine().inspectContainer(name))?.status).toBe('running')
    await cluster.startHost()
  }, 60_000)

  it('the Runner while a task prints: the task ends as it would have, every line once', async () => {
    await untilOnline(cluster, [name])
    const script = 'i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 3'
    const { tasks: [task] } = await cluster.client.call('submitTask', { body: { command: ['sh', '-c', script], environment: name } })
    const id = task?.id ?? ''
    const output = await cluster.client.stream('getTaskStdout', { params: { id }, query: { follow: 'true' } })
    for await (const chunk of output) if (String(chunk).includes('line 20')) break
    await cluster.runners[name]?.stop('SIGKILL')
    await cluster.startRunner(name)
    const ended = await cluster.client.call('getTask', { params: { id }, query: { wait: 60 }, timeoutMs: 90_000 })
    expect(ended).toMatchObject({ state: 'failed', exitCode: 3 })
    const lines = readFileSync(join(cluster.sharedDir, 'task_outputs', `${id}.out`), 'utf8')
    expect(lines).toBe(Array.from({ length: 300 }, (_, index) => `line ${index}\n`).join(''))
  }, 120_000)

  it('the Host while a task runs: it hears of the end when it is back', async () => {
    await untilOnline(cluster, [name])
    const { tasks: [task] } = await cluster.client.call('submitTask', { body: { command: ['sh', '-c', 'sleep 1; exit 5'], environment: name } })
    await cluster.host.stop('SIGKILL')
    await cluster.startHost()
    const ended = await cluster.client.call('getTask', { params: { id: task?.id ?? '' }, query: { wait: 60 }, timeoutMs: 90_000 })
    expect(ended).toMatchObject({ state: 'failed', exitCode: 5 })
  }, 120_000)

  it('no image of a packaging that was killed stays, though the Engine may finish its commit later', async () => {
    expect(interrupted).not.toEqual([])
    for (const id of interrupted) await expect.poll(() => testEngine().inspectImage(`hakuriver/${name}:packaging-${id}`), { timeout: 20_000 }).toBeUndefined()
  })
})
