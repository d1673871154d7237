import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { watch } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ImageDetails } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels, taskContainerName } from '#core/paths.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { freePort } from '#simulator/free-port.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('a Runner that was killed', () => {
  const engine = testEngine()
  let image: ImageDetails
  let host: StubHost
  let workspace: Workspace
  let port: number
  let runner: RunnerProcess

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    host = await startStubHost()
    port = await freePort()
  })
  afterAll(() => host?.stop())
  beforeEach(async () => {
    workspace = await createWorkspace(engine)
    runner = await startRunner(workspace, host, { port })
  })
  afterEach(async () => {
    await runner?.stop()
    await workspace?.remove()
  })

  async function start(command: string[]): Promise<string> {
    const order = createOrder(image.id, command)
    await runner.put(order)
    await host.untilState(order.id, 'running')
    return order.id
  }

  async function restart(): Promise<void> {
    runner = await startRunner(workspace, host, { port })
  }

  /** Resolves once the output file has at least so many bytes. */
  async function untilPrinted(id: string, bytes: number): Promise<void> {
    const watcher = watch(workspace.paths.stdout(id, 1))
    try {
      while ((await readFile(workspace.paths.stdout(id, 1))).length < bytes) await once(watcher, 'change')
    } finally {
      watcher.close()
    }
  }

  it('keeps every line of a task once, killed while it prints', async () => {
    const total = 300
    const id = await start(['sh', '-c', `i=0; while [ $i -lt ${total} ]; do echo line $i; echo error $i >&2; i=$((i+1)); usleep 10000; done; exit 7`])
    for (const bytes of [300, 800, 1600]) {
      await untilPrinted(id, bytes)
      await runner.kill()
      await restart()
    }
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'exited', exitCode: 7 })
    const lines = (word: string) => Array.from({ length: total }, (_, index) => `${word} ${index}\n`).join('')
    expect(await workspace.stdout(id)).toBe(lines('line'))
    expect(await workspace.stderr(id)).toBe(lines('error'))
  })

  it('keeps lines that are longer than an Engine logs at once', async () => {
    const line = (index: number) => `${index} ${'x'.repeat(16_384 * 2 - 2 - (index % 3))}\n`
    const id = await start(['sh', '-c', 'x=$(head -c 32766 /dev/zero | tr "\\0" x); for i in 0 1 2 3 4 5 6 7 8 9; do y=$x; j=$((i % 3)); while [ $j -gt 0 ]; do y=${y#x}; j=$((j-1)); done; echo "$i $y"; sleep 0.2; done; printf %s "$x"'])
    for (const count of [2, 5]) {
      await untilPrinted(id, count * 32_000)
      await runner.kill()
      await restart()
    }
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
    expect(await workspace.stdout(id)).toBe(`${Array.from({ length: 10 }, (_, index) => line(index)).join('')}${'x'.repeat(32_766)}`)
  })

  it('leaves containers alone when it is stopped, and exits with 0', async () => {
    const id = await start(['sh', '-c', 'echo first; until [ -e /shared/go ]; do sleep 0.05; done; echo last'])
    expect(await runner.stop()).toBe(0)
    expect((await engine.inspectContainer(taskContainerName(id, 1)))?.status).toBe('running')
    await restart()
    await writeFile(join(workspace.paths.data, 'go'), '')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
    expect(await workspace.stdout(id)).toBe('first\nlast\n')
  })

  it('reports what ended while it was away', async () => {
    const id = await start(['sh', '-c', 'until [ -e /shared/go ]; do sleep 0.05; done; echo done; exit 5'])
    await runner.kill()
    await writeFile(join(workspace.paths.data, 'go'), '')
    await engine.waitContainer(taskContainerName(id, 1))
    await restart()
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', exitCode: 5 })
    expect(await workspace.stdout(id)).toBe('done\n')
  })

  it('keeps a paused task paused', async () => {
    const id = await start(['sleep', '600'])
    await runner.client.call('pauseTask', { params: { id }, body: { instance: 1 } })
    await runner.kill()
    await restart()
    await host.untilState(id, 'paused')
    expect(await runner.client.call('resumeTask', { params: { id }, body: { instance: 1 } })).toMatchObject({ state: 'running' })
    await runner.client.call('killTask', { params: { id }, body: { instance: 1 } })
    expect(await host.untilFinal(id)).toMatchObject({ state: 'killed' })
  })

  it('goes on with a kill that it had accepted', async () => {
    const id = await start(['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'])
    await runner.client.call('killTask', { params: { id }, body: { instance: 1 } })
    await runner.kill()
    await restart()
    expect(await host.untilFinal(id)).toMatchObject({ state: 'killed', reason: 'user' })
  })

  it('tells that a container was removed while it was away, and does not run the task again', async () => {
    const id = await start(['sleep', '600'])
    await runner.kill()
    await engine.removeContainer(taskContainerName(id, 1))
    await restart()
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'node_forgot' })
    expect((await workspace.containers()).size).toBe(0)
  })

  it('tells that a container was removed under its eyes', async () => {
    const id = await start(['sleep', '600'])
    await engine.removeContainer(taskContainerName(id, 1))
    expect(await host.untilFinal(id)).toMatchObject({ state: 'failed', reason: 'node_forgot', message: expect.stringContaining('removed') })
  })

  it('adopts the container of an order that it had forgotten', async () => {
    const id = await start(['sh', '-c', 'echo up; until [ -e /shared/go ]; do sleep 0.05; done; echo down'])
    const [container] = (await workspace.containers()).values()
    await runner.kill()
    await rm(workspace.stateDir, { recursive: true })
    await restart()
    await runner.put(createOrder(image.id, ['false'], { id }))
    await host.untilState(id, 'running')
    expect([...(await workspace.containers()).values()]).toEqual([container])
    await writeFile(join(workspace.paths.data, 'go'), '')
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded' })
    expect(await workspace.stdout(id)).toBe('up\ndown\n')
  })

  it('removes its own containers of unknown tasks, and no others', async () => {
    const create = (node: string) => {
      const task = createId()
      const spec = { name: `test-orphan-${task}`, image: image.id, command: ['sleep', '600'], env: {}, mounts: [], labels: { [labels.task]: task, [labels.node]: node }, logs: 'none' as const }
      return engine.createContainer(spec)
    }
    const own = await create(workspace.hostname)
    const foreign = await create(`${workspace.hostname}-other`)
    try {
      await runner.untilLogged(/removing a container of task/)
      await expect.poll(() => engine.inspectContainer(own)).toBeUndefined()
      expect(await engine.inspectContainer(foreign)).toBeDefined()
    } finally {
      await engine.removeContainer(foreign)
      await engine.removeContainer(own)
    }
  })

  it('keeps the output of a task whose share goes away meanwhile', async () => {
    const id = await start(['sh', '-c', 'echo first; until [ -e /shared/go ]; do sleep 0.05; done; seq 1000'])
    await untilPrinted(id, 6)
    await runner.kill()
    const { root, outputs } = workspace.paths
    await rename(outputs, join(root, 'elsewhere'))
    await writeFile(outputs, 'in the way')
    await restart()
    await runner.untilLogged(/can not be written/)
    await writeFile(join(workspace.paths.data, 'go'), '')
    await engine.waitContainer(taskContainerName(id, 1))
    await rm(outputs)
    await rename(join(root, 'elsewhere'), outputs)
    expect(await host.untilFinal(id)).toMatchObject({ state: 'succeeded', message: null })
    expect(await workspace.stdout(id)).toBe(`first\n${Array.from({ length: 1000 }, (_, index) => `${index + 1}\n`).join('')}`)
  })

  it('fails a task at once whose output can not be kept', async () => {
    await rm(workspace.paths.outputs, { recursive: true, force: true })
    await writeFile(workspace.paths.outputs, 'in the way')
    const order = createOrder(image.id, ['true'])
    await runner.put(order)
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'failed', reason: 'output_failed', message: expect.stringContaining(workspace.paths.outputs) })
    expect((await workspace.containers()).size).toBe(0)
  })
})
