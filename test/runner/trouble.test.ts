import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ImageDetails } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels, taskContainerName } from '#core/paths.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { createBaseLayer, orderOf } from '../support/base-layer.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { layerOf, publishVersion } from '../support/versions.ts'
import { createEngineLink, type EngineLink } from './support/engine-link.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('a Runner in trouble', () => {
  const engine = testEngine()
  let image: ImageDetails
  let host: StubHost
  let workspace: Workspace
  let link: EngineLink
  let runner: RunnerProcess
  /** Loaded by a test. */
  const images: string[] = []

  beforeAll(async () => {
    image = (await engine.inspectImage(await ensureBusybox(socketPath))) as ImageDetails
    host = await startStubHost()
  })
  afterAll(() => host?.stop())
  beforeEach(async () => {
    workspace = await createWorkspace(engine)
    link = await createEngineLink(join(workspace.root, 'engine.sock'), socketPath)
    runner = await startRunner(workspace, host, { engine: link.socketPath })
  })
  afterEach(async () => {
    await runner?.stop()
    await link?.cut()
    await workspace?.remove()
    for (const id of images.splice(0)) await engine.removeImage(id)
  })

  it('starts a task once the Engine is back', async () => {
    await link.cut()
    const order = createOrder(image.id, ['echo', 'late'])
    await runner.put(order)
    await host.until('the Engine to be missed', () => host.reports.some(({ id, message }) => id === order.id && message?.includes('can not be reached')))
    expect(host.reports.findLast(({ id }) => id === order.id)).toMatchObject({ state: 'assigned' })
    await host.until('a beat without an Engine', () => host.heartbeats.at(-1)?.engine === null)
    await link.restore()
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'succeeded', message: null })
    expect(await workspace.stdout(order.id)).toBe('late\n')
  })

  it('kills a task that waits for the Engine', async () => {
    await link.cut()
    const order = createOrder(image.id, ['true'])
    await runner.put(order)
    await runner.client.call('killTask', { params: { id: order.id }, body: { instance: 1 } })
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'killed', reason: 'user', exitCode: null })
  })

  describe('in the middle of a load', () => {
    let environment: string
    let manifest: VersionManifest

    beforeEach(async () => {
      environment = `env-${createId()}`
      const store = createFileSystemStore({ directory: workspace.paths.tarballs, ownerId: 'host' })
      const layers = [await createBaseLayer(environment), layerOf({ change: Buffer.alloc(5_000_000, environment) })]
      manifest = await publishVersion(store, { environment, version: 1, layers })
      images.push(manifest.configDigest)
    })
    const loaded = async () => (await engine.listImages()).filter((found) => found.labels[labels.environment] === environment).length

    it('ends the load of a task that is killed, and leaves nothing', async () => {
      const hold = link.hold(3_000_000)
      const order = createOrder('', ['test', '-s', '/change'], { image: orderOf(manifest) })
      await runner.put(order)
      await hold.held
      await host.until('a word about the load', () => host.reports.some(({ id, state, sync }) => id === order.id && state === 'syncing' && sync?.totalBytes === manifest.newBytes))
      await runner.client.call('killTask', { params: { id: order.id }, body: { instance: 1 } })
      expect(await host.untilFinal(order.id)).toMatchObject({ state: 'killed', reason: 'user', sync: null })
      hold.release()
      expect(await loaded()).toBe(0)
      const again = createOrder('', ['test', '-s', '/change'], { image: orderOf(manifest) })
      await runner.put(again)
      expect(await host.untilFinal(again.id)).toMatchObject({ state: 'succeeded' })
    })

    it('begins it again after a crash of its own', async () => {
      const hold = link.hold(3_000_000)
      const order = createOrder('', ['test', '-s', '/change'], { image: orderOf(manifest) })
      await runner.put(order)
      await hold.held
      await runner.kill()
      hold.release()
      expect(await loaded()).toBe(0)
      runner = await startRunner(workspace, host, { engine: link.socketPath })
      expect(await host.untilFinal(order.id)).toMatchObject({ state: 'succeeded', sync: null })
      expect(await loaded()).toBe(1)
    })

    it('begins it again when the Engine is back', async () => {
      const hold = link.hold(3_000_000)
      const order = createOrder('', ['test', '-s', '/change'], { image: orderOf(manifest) })
      await runner.put(order)
      await hold.held
      await link.cut()
      await host.until('the Engine to be missed', () => host.reports.some(({ id, message }) => id === order.id && message?.includes('has to wait')))
      hold.release()
      await link.restore()
      expect(await host.untilFinal(order.id)).toMatchObject({ state: 'succeeded', message: null })
    })
  })

  it('loses nothing of a task while the Engine is away', async () => {
    const order = createOrder(image.id, ['sh', '-c', 'seq 500; until [ -e /shared/go ]; do sleep 0.05; done; seq 501 1000; exit 4'])
    await runner.put(order)
    await host.untilState(order.id, 'running')
    await link.cut()
    await writeFile(join(workspace.paths.data, 'go'), '')
    await engine.waitContainer(taskContainerName(order.id, 1))
    await host.until('the Engine to be missed', () => host.reports.some(({ id, message }) => id === order.id && message?.includes('can not be reached')))
    await link.restore()
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'failed', exitCode: 4 })
    expect(await workspace.stdout(order.id)).toBe(Array.from({ length: 1000 }, (_, index) => `${index + 1}\n`).join(''))
  })

  it('keeps the output of a task until a full share has room again', async () => {
    const order = createOrder(image.id, ['sh', '-c', 'seq 1000; seq 1000 >&2'])
    await mkdir(workspace.paths.outputs)
    await symlink('/dev/full', workspace.paths.stdout(order.id, 1))
    await runner.put(order)
    await host.until('a word about the share', () => host.reports.some(({ id, message }) => id === order.id && message?.includes('full')))
    await rm(workspace.paths.stdout(order.id, 1))
    const report = await host.untilFinal(order.id)
    const all = Array.from({ length: 1000 }, (_, index) => `${index + 1}\n`).join('')
    expect(report).toMatchObject({ state: 'succeeded', stdoutBytes: all.length, stderrBytes: all.length })
    expect([await workspace.stdout(order.id), await workspace.stderr(order.id)]).toEqual([all, all])
  })

  it('says that output is missing when a killed task ends with a share that stays full', { timeout: 90_000 }, async () => {
    const order = createOrder(image.id, ['sh', '-c', 'echo out; sleep 600'])
    await mkdir(workspace.paths.outputs)
    await symlink('/dev/full', workspace.paths.stdout(order.id, 1))
    await runner.put(order)
    await host.until('a word about the share', () => host.reports.some(({ id, message }) => id === order.id && message?.includes('full')))
    await runner.client.call('killTask', { params: { id: order.id }, body: { instance: 1 } })
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'killed', message: expect.stringContaining('Output is missing') })
  })
})
