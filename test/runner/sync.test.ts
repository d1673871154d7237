import { createWriteStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { tarballFileName } from '#core/paths.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { layerOf, publishVersion } from '../support/versions.ts'
import { createBaseLayer, orderOf } from '../support/base-layer.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, imageOf, type Workspace } from './support/workspace.ts'

describe.skipIf(engineMissing !== undefined)('image sync of a Runner', () => {
  const engine = testEngine()
  const images = new Set<string>()
  let host: StubHost
  let workspace: Workspace
  let runner: RunnerProcess
  let environment: string

  beforeAll(async () => {
    workspace = await createWorkspace(engine)
    host = await startStubHost()
    runner = await startRunner(workspace, host)
  })
  beforeEach(() => {
    environment = `env-${createId()}`
  })
  afterAll(async () => {
    await runner?.stop()
    await host?.stop()
    await workspace?.remove()
    for (const image of images) await engine.removeImage(image)
  })

  /** A tarball whose image has `content` in /content; the Engine forgets the image. */
  async function pack(version: number, content: string): Promise<string> {
    const container = await engine.createContainer({ name: `test-sync-${createId()}`, image: await ensureBusybox(socketPath), command: ['sh', '-c', `echo ${content} > /content`], env: {}, labels: {}, mounts: [], logs: 'none' })
    try {
      await engine.startContainer(container)
      await engine.waitContainer(container)
      const id = await engine.commitContainer(container, { repository: `test-sync/${environment}`, tag: String(version), author: '', comment: '' })
      images.add(id)
      const file = join(workspace.paths.tarballs, tarballFileName(environment, version))
      await pipeline(await engine.saveImage(id), createWriteStream(file))
      await engine.removeImage(id)
      return id
    } finally {
      await engine.removeContainer(container)
    }
  }

  /** For a tarball made by other tools, as those of {@link pack} are. */
  function order(version: number, command = ['cat', '/content']): TaskOrder {
    return createOrder('', command, { image: imageOf(environment, version) })
  }

  /** A version as the Host publishes it, and an order for it. */
  async function publish(version: number, content: string | Buffer): Promise<{ manifest: VersionManifest; order: TaskOrder }> {
    const store = createFileSystemStore({ directory: workspace.paths.tarballs, ownerId: 'host' })
    const manifest = await publishVersion(store, { environment, version, layers: [await createBaseLayer(environment), layerOf({ 'content': content })] })
    images.add(manifest.configDigest)
    return { manifest, order: createOrder('', ['cat', '/content'], { image: orderOf(manifest) }) }
  }

  async function run(taskOrder: TaskOrder): Promise<TaskReport> {
    await runner.put(taskOrder)
    return host.untilFinal(taskOrder.id)
  }

  it('loads a version once for all tasks that wait for it', async () => {
    await pack(1, 'one')
    const reports = await Promise.all([1, 2, 3].map(() => run(order(1))))
    for (const report of reports) {
      expect(report).toMatchObject({ state: 'succeeded' })
      expect(await workspace.stdout(report.id)).toBe('one\n')
    }
    expect(runner.log().split(`loaded ${tarballFileName(environment, 1)}`)).toHaveLength(2)
  })

  it('tells that a task waits for a load, and not when the image is there', async () => {
    await pack(1, 'one')
    const first = order(1)
    await run(first)
    const second = order(1)
    await run(second)
    expect(runner.log().split(`loaded ${tarballFileName(environment, 1)}`)).toHaveLength(2)
    expect(host.reports.filter(({ id: task, state }) => task === second.id && state === 'syncing')).toEqual([])
  })

  it('runs the version that it was given, and removes a superseded one that nothing uses', async () => {
    const old = await pack(1, 'old')
    await run(order(1))
    const fresh = await pack(2, 'new')
    const report = await run(order(2))
    expect(await workspace.stdout(report.id)).toBe('new\n')
    await expect.poll(() => engine.inspectImage(old)).toBeUndefined()
    const again = await run(order(1))
    expect(await workspace.stdout(again.id)).toBe('old\n')
    expect(await engine.inspectImage(fresh)).toBeDefined()
  })

  it('keeps a superseded version while a task uses it', async () => {
    const old = await pack(1, 'old')
    const long = order(1, ['sh', '-c', 'until [ -e /shared/go ]; do sleep 0.05; done'])
    await runner.put(long)
    await host.untilState(long.id, 'running')
    await pack(2, 'new')
    await run(order(2))
    expect(await engine.inspectImage(old)).toBeDefined()
    await writeFile(join(workspace.paths.data, 'go'), '')
    await host.untilFinal(long.id)
    await expect.poll(() => engine.inspectImage(old)).toBeUndefined()
  })

  it('loads again what was removed behind its back', async () => {
    const id = await pack(1, 'one')
    await run(order(1))
    await expect.poll(async () => (await workspace.containers()).size).toBe(0)
    await engine.removeImage(id)
    const report = await run(order(1))
    expect(report).toMatchObject({ state: 'succeeded' })
  })

  it('fails clearly without the tarball, and never pulls', async () => {
    const report = await run(order(1))
    expect(report).toMatchObject({ state: 'failed', reason: 'sync_failed', message: expect.stringContaining(tarballFileName(environment, 1)) })
  })

  it('fails clearly with a damaged tarball', async () => {
    await pack(1, 'one')
    await truncate(join(workspace.paths.tarballs, tarballFileName(environment, 1)), 700_000)
    const report = await run(order(1))
    expect(report).toMatchObject({ state: 'failed', reason: 'sync_failed' })
    expect(report.message).toContain(tarballFileName(environment, 1))
  })

  it('does not let the load of one version hold up a task of another', async () => {
    await pack(1, 'ready')
    await run(order(1))
    const other = environment
    environment = `env-${createId()}`
    await pack(1, 'other')
    const loading = order(1)
    const warm = { ...order(1), image: imageOf(other, 1) }
    await Promise.all([runner.put(loading), runner.put(warm)])
    expect(await host.untilFinal(warm.id)).toMatchObject({ state: 'succeeded' })
    expect(await host.untilFinal(loading.id)).toMatchObject({ state: 'succeeded' })
  })

  it('tells how far it is, and forgets that once the task goes on', async () => {
    const { order: waiting, manifest } = await publish(1, 'far')
    const report = await run(waiting)
    expect(report).toMatchObject({ state: 'succeeded', sync: null, damage: null })
    const syncing = host.reports.find(({ id, state }) => id === waiting.id && state === 'syncing')
    expect(syncing?.sync).toEqual({ bytes: 0, totalBytes: manifest.newBytes, bytesPerSecond: null })
  })

  it('tells the Host what is wrong with a damaged version', async () => {
    const { order: broken, manifest } = await publish(1, Buffer.alloc(3_000_000))
    const handle = await open(join(workspace.paths.tarballs, tarballFileName(environment, 1)), 'r+')
    await handle.write('x', (manifest.layers[1]?.offset ?? 0) + 2_000_000)
    await handle.close()
    const report = await run(broken)
    expect(report).toMatchObject({ state: 'failed', reason: 'sync_failed', message: expect.stringContaining(manifest.layers[1]?.digest ?? '') })
    expect(report.damage).toBe(report.message)
    expect(await engine.inspectImage(manifest.configDigest)).toBeUndefined()
  })

  it('says that the shared directory is not mounted, starts nothing and writes nothing there', async () => {
    const { order: late } = await publish(1, 'one')
    const elsewhere = join(workspace.root, 'mounted-elsewhere')
    await rename(workspace.paths.root, elsewhere)
    await mkdir(workspace.paths.tarballs, { recursive: true })
    try {
      await expect(runner.client.call('getHealth', {})).resolves.toMatchObject({ status: 'degraded', problems: [expect.objectContaining({ code: 'storage.unavailable', detail: expect.stringContaining('mounted') })] })
      const report = await run(late)
      expect(report).toMatchObject({ state: 'failed', message: expect.stringContaining('mounted') })
      expect(await readdir(workspace.paths.root, { recursive: true })).toEqual(['hakuriver-containers'])
    } finally {
      await rm(workspace.paths.root, { recursive: true })
      await rename(elsewhere, workspace.paths.root)
    }
    expect(await run({ ...late, id: createId() })).toMatchObject({ state: 'succeeded' })
  })

  it('loads what the Host wants to have there, and tells what it has', async () => {
    const { manifest } = await publish(1, 'early')
    const call = () => runner.client.call('putImage', { params: { environment, version: '1' }, query: { wait: 30 }, body: orderOf(manifest) })
    expect((await Promise.all([call(), call()])).map(({ state }) => state)).toEqual(['ready', 'ready'])
    expect(runner.log().split(`loaded ${tarballFileName(environment, 1)}`)).toHaveLength(2)
    const hasIt = () => host.heartbeats.at(-1)?.holdings?.images.some((image) => image.environment === environment) ?? false
    await host.until('a beat with the new version', hasIt)
    const { digest = '' } = manifest.layers[0] ?? {}
    expect(host.heartbeats.at(-1)?.holdings?.layers).toContain(digest)
    await host.until('a beat without news', () => host.heartbeats.at(-1)?.holdings === undefined)
    host.knobs.wantsHoldings = true
    await host.until('all of it again for a Host that has forgotten it', hasIt)
    host.knobs.wantsHoldings = false
    await expect(runner.client.call('putImage', { params: { environment, version: '2' }, body: { ...orderOf(manifest), version: 2 } })).resolves.toMatchObject({ state: 'loading' })
    await runner.client.call('cancelImage', { params: { environment, version: '2' } })
    await expect(runner.client.call('putImage', { params: { environment, version: '3' }, query: { wait: 30 }, body: { ...orderOf(manifest), version: 3, configDigest: null, manifestDigest: null } })).rejects.toMatchObject({ code: 'tarball.not_found' })
  })
})
