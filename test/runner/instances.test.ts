import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { TaskOrder } from '#core/api/schemas.ts'
import type { ImageDetails } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels, taskContainerName } from '#core/paths.ts'
import { freePort } from '#simulator/free-port.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

const DEAF = ['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 0.05; done']

describe.skipIf(engineMissing !== undefined)('executions of one task', () => {
  const engine = testEngine()
  let image: ImageDetails
  let host: StubHost
  let workspace: Workspace
  let port: number
  let runner: RunnerProcess

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    port = await freePort()
  })
  beforeEach(async () => {
    host = await startStubHost()
    workspace = await createWorkspace(engine)
    runner = await startRunner(workspace, host, { port })
  })
  afterEach(async () => {
    await runner?.stop()
    await host?.stop()
    await workspace?.remove()
  })

  const createInstance = (id: string, instance: number, command: string[], change: Partial<TaskOrder> = {}) => createOrder(image.id, command, { id, instance, ...change })
  const statusOf = async (id: string, instance: number) => (await engine.inspectContainer(taskContainerName(id, instance)))?.status
  const alive = async (id: string) => (await engine.listContainers({ [labels.task]: id })).filter(({ status }) => status === 'running').map((container) => container.labels[labels.instance])

  async function start(id: string, instance: number, command = ['sleep', '600'], change: Partial<TaskOrder> = {}): Promise<void> {
    await runner.put(createInstance(id, instance, command, change))
    await host.untilState(id, 'running', instance)
  }

  it('have outputs, containers and reports of their own', async () => {
    const id = createId()
    await runner.put(createInstance(id, 1, ['sh', '-c', 'echo one; exit 3']))
    expect(await host.untilFinal(id)).toMatchObject({ instance: 1, exitCode: 3 })
    await runner.put(createInstance(id, 2, ['sh', '-c', 'echo two; exit 4']))
    expect(await host.untilFinal(id, 2)).toMatchObject({ instance: 2, exitCode: 4, sequence: expect.any(Number) })
    expect([await workspace.stdout(id, 1), await workspace.stdout(id, 2)]).toEqual(['one\n', 'two\n'])
  })

  it('are never two at a time: a higher one ends a lower one first', async () => {
    const id = createId()
    await start(id, 1, DEAF, { graceSeconds: 600 })
    await runner.put(createInstance(id, 2, ['sh', '-c', 'echo two; sleep 600']))
    await host.untilState(id, 'running', 2)
    expect(await alive(id)).toEqual(['2'])
    // Nobody hears of the end of the first one: it is not wanted any more.
    expect(host.reports.filter(({ instance, state }) => instance === 1 && state === 'killed')).toEqual([])
    await expect.poll(() => statusOf(id, 1)).toBeUndefined()
    await expect(runner.client.call('killTask', { params: { id }, body: { instance: 1 } })).rejects.toMatchObject({ code: 'task.not_found' })
    expect(await runner.client.call('killTask', { params: { id }, body: { instance: 2 } })).toMatchObject({ instance: 2 })
    expect(await host.untilFinal(id, 2)).toMatchObject({ state: 'killed' })
  })

  it('are refused when a higher one is known', async () => {
    const id = createId()
    await start(id, 2)
    await expect(runner.put(createInstance(id, 1, ['true']))).rejects.toMatchObject({ code: 'task.superseded' })
    expect(await runner.put(createInstance(id, 2, ['true']))).toMatchObject({ state: 'running' })
    expect(await alive(id)).toEqual(['2'])
  })

  it('go in order also when the Runner is killed in between', async () => {
    const id = createId()
    await start(id, 1, DEAF, { graceSeconds: 600 })
    await runner.put(createInstance(id, 2, ['sh', '-c', 'echo two; sleep 600']))
    await runner.kill()
    runner = await startRunner(workspace, host, { port })
    await host.untilState(id, 'running', 2)
    expect(await alive(id)).toEqual(['2'])
    expect(await workspace.stdout(id, 2)).toBe('two\n')
  })

  it('can be killed while they wait for the end of a lower one', async () => {
    const id = createId()
    await start(id, 1, DEAF, { graceSeconds: 600 })
    await runner.put(createInstance(id, 2, ['true']))
    await runner.client.call('killTask', { params: { id }, body: { instance: 2 } })
    expect(await host.untilFinal(id, 2)).toMatchObject({ state: 'killed', started: null })
  })

  it('end lower ones that nobody remembers', async () => {
    const id = createId()
    await start(id, 1)
    await runner.kill()
    await rm(workspace.stateDir, { recursive: true })
    runner = await startRunner(workspace, host, { port })
    await runner.put(createInstance(id, 2, ['sleep', '600']))
    await host.until('the second one to run', () => host.reports.some(({ instance, state }) => instance === 2 && state === 'running'))
    expect(await alive(id)).toEqual(['2'])
  })

  it('of a Runner that was frozen end when it wakes up and the Host has decided otherwise', async () => {
    const id = createId()
    await start(id, 1, DEAF, { graceSeconds: 600 })
    runner.freeze()
    // The Host gives the task to another node.
    await host.untilSilent(5)
    host.knobs.unknown.add(`${id}-1`)
    runner.wake()
    await expect.poll(() => alive(id)).toEqual([])
  })

  it('of a Runner that was cut off end when it is back and the Host has decided otherwise', async () => {
    const id = createId()
    await start(id, 1)
    await host.stop()
    await runner.untilLogged(/can not be reached/)
    host.knobs.unknown.add(`${id}-1`)
    await host.restart()
    await expect.poll(() => alive(id), { timeout: 25_000 }).toEqual([])
    await expect.poll(() => statusOf(id, 1)).toBeUndefined()
  })

  it('that the Host wants go on after the Runner was frozen', async () => {
    const id = createId()
    await start(id, 1, ['sh', '-c', 'until [ -e /shared/go ]; do sleep 0.05; done; echo went on'])
    runner.freeze()
    await host.untilSilent(5)
    runner.wake()
    await runner.untilLogged(/did not run for some time/)
    await writeFile(join(workspace.paths.data, 'go'), '')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
    expect(await workspace.stdout(id)).toBe('went on\n')
  })

  it('are asked for after a freeze in the middle of a beat too', async () => {
    const id = createId()
    await start(id, 1)
    // The answer comes while nobody is there to read it.
    const frozen = new Promise<void>((resolve) => {
      host.knobs.beforeBeat = async () => {
        host.knobs.beforeBeat = () => undefined
        runner.freeze()
        await host.untilSilent(5)
        resolve()
      }
    })
    await frozen
    host.knobs.unknown.add(`${id}-1`)
    runner.wake()
    await runner.untilLogged(/did not run for some time/)
    await expect.poll(() => alive(id)).toEqual([])
  })

  it('are told in every beat, each by its instance', async () => {
    const id = createId()
    await start(id, 3)
    const beats = host.heartbeats.length
    await host.until('the next beat', () => host.heartbeats.length > beats)
    expect(host.heartbeats.at(-1)?.tasks).toEqual([{ id, instance: 3 }])
  })

  it('have outputs that a Host can read through the Runner', async () => {
    const id = createId()
    await start(id, 2, ['sh', '-c', 'echo 0123456789; echo error >&2; sleep 600'])
    await expect.poll(() => workspace.stdout(id, 2)).toBe('0123456789\n')
    const read = async (stream: 'stdout' | 'stderr', offset: number, instance = 2) => text(await runner.client.stream('getTaskOutput', { params: { id }, query: { stream, instance, offset } }))
    expect([await read('stdout', 0), await read('stdout', 4), await read('stdout', 100), await read('stderr', 0), await read('stdout', 0, 1)]).toEqual(['0123456789\n', '456789\n', '', 'error\n', ''])
    await rm(workspace.paths.mark)
    await expect(read('stdout', 0)).rejects.toMatchObject({ code: 'storage.unavailable' })
    expect(await readFile(workspace.paths.stdout(id, 2), 'utf8')).toBe('0123456789\n')
  })
})
