import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ImageDetails } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { taskContainerName } from '#core/paths.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { freePort } from '#simulator/free-port.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('the link of a Runner to its Host', () => {
  const engine = testEngine()
  const runners: RunnerProcess[] = []
  let host: StubHost
  let workspace: Workspace

  beforeEach(async () => {
    workspace = await createWorkspace(engine)
    host = await startStubHost()
  })
  afterEach(async () => {
    for (const runner of runners.splice(0)) await runner.stop()
    await host.stop()
    await workspace.remove()
  })

  async function start(options?: Parameters<typeof startRunner>[2]): Promise<RunnerProcess> {
    const runner = await startRunner(workspace, host, options)
    runners.push(runner)
    return runner
  }

  async function busybox(): Promise<string> {
    const image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    return image.id
  }

  it('registers what the node has, and beats', async () => {
    await start()
    await host.until('two beats', () => host.heartbeats.length >= 2)
    const [registration] = host.registrations
    expect(registration).toMatchObject({ hostname: workspace.hostname, hardware: { cores: expect.any(Number), memoryBytes: expect.any(Number) }, engine: { version: expect.stringMatching(/^\d+\./), storageDriver: expect.any(String) } })
    const beat = host.heartbeats[1]
    expect(beat).toMatchObject({ instanceId: registration?.instanceId, tasks: [], usage: { cpuPercent: expect.any(Number), memoryUsedBytes: expect.any(Number) } })
  })

  it('answers only its Host, and its health to all', async () => {
    const runner = await start()
    await host.until('a registration', () => host.registrations.length > 0)
    const url = host.registrations[0]?.url
    expect((await fetch(`${url}/api/tasks/${'0'.repeat(26)}/kill`, { method: 'POST' })).status).toBe(401)
    expect((await fetch(`${url}/api/tasks/${'0'.repeat(26)}/kill`, { method: 'POST', headers: { authorization: `Bearer ${host.token}` } })).status).toBe(401)
    await runner.untilLogged(/registered/)
    expect(await (await fetch(`${url}/api/health`)).json()).toMatchObject({ status: 'ok', problems: [] })
  })

  it('waits for a Host that is not there yet, and says so once', async () => {
    await host.stop()
    const runner = await start()
    await runner.untilLogged(/can not be reached/)
    await host.restart()
    await host.until('a registration', () => host.registrations.length === 1)
    expect(runner.log().match(/can not be reached/g)).toHaveLength(1)
  })

  it('tells of a refused token once, and goes on trying with the one in the file', async () => {
    host.knobs.refuseRegistration = new HakuError('auth.invalid_token', 'The token is not known here.')
    const runner = await start()
    await runner.untilLogged(/The token is not known here/)
    host.knobs.refuseRegistration = undefined
    host.token = 'another-runner-token-of-32-characters-or-more'
    await writeFile(join(workspace.root, 'runner.token'), host.token)
    await host.until('a registration', () => host.registrations.length === 1)
    expect(runner.log().match(/The token is not known here/g)).toHaveLength(1)
  })

  it('registers again with a Host that has forgotten it', async () => {
    await start()
    await host.until('a beat', () => host.heartbeats.length > 0)
    host.knobs.isForgetful = true
    await host.until('a second registration', () => host.registrations.length === 2)
    expect(host.registrations[1]?.instanceId).toBe(host.registrations[0]?.instanceId)
  })

  it('reports after an outage of the Host what ended meanwhile, also after a crash of its own', async () => {
    const port = await freePort()
    const runner = await start({ port })
    const image = await busybox()
    const running = createOrder(image, ['sh', '-c', 'until [ -e /shared/go ]; do sleep 0.05; done; exit 9'])
    const short = createOrder(image, ['true'])
    await runner.put(running)
    await host.untilState(running.id, 'running')
    await host.stop()
    await runner.put(short)
    await writeFile(join(workspace.paths.data, 'go'), '')
    await engine.waitContainer(taskContainerName(running.id, 1))
    const health = async () => (await runner.client.call('putTask', { params: { id: short.id }, body: short })).state
    await expect.poll(health).toBe('succeeded')
    await runner.kill()
    await start({ port })
    await host.restart()
    expect(await host.untilFinal(short.id)).toMatchObject({ state: 'succeeded', exitCode: 0 })
    expect(await host.untilFinal(running.id)).toMatchObject({ state: 'failed', exitCode: 9 })
    await expect.poll(async () => (await workspace.containers()).size).toBe(0)
  })

  it('names its unfinished tasks in each beat', async () => {
    const runner = await start()
    const order = createOrder(await busybox(), ['sleep', '600'])
    await runner.put(order)
    await host.until('a beat with the task', () => host.heartbeats.at(-1)?.tasks.some(({ id, instance }) => id === order.id && instance === 1) ?? false)
    await runner.client.call('killTask', { params: { id: order.id }, body: { instance: 1 } })
    await host.untilFinal(order.id)
    const beats = host.heartbeats.length
    await host.until('two more beats', () => host.heartbeats.length >= beats + 2)
    expect(host.heartbeats.at(-1)?.tasks).toEqual([])
  })

  it('ends and forgets a task that the Host does not know', async () => {
    const runner = await start()
    const order = createOrder(await busybox(), ['sleep', '600'])
    host.knobs.unknown.add(order.id)
    await runner.put(order)
    await runner.untilLogged(/the Host does not want it/)
    await expect.poll(async () => (await workspace.containers()).size).toBe(0)
    const kill = () => runner.client.call('killTask', { params: { id: order.id }, body: { instance: 1 } }).then(({ state }) => state, (error: HakuError) => error.code)
    await expect.poll(kill).toBe('task.not_found')
  })

  it('says in one line why it can not start, and exits with 1', async () => {
    const port = await freePort()
    await start({ port })
    const second = await startRunner(workspace, host, { port, waitForStart: false })
    expect(await second.exited).toBe(1)
    expect(second.log()).toMatch(/^\[hakuriver\] \[runner\] The Runner can not listen on 127\.0\.0\.1:\d+: another process listens there[^\n]*\n$/)
  })
})
