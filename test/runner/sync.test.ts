import { createWriteStream } from 'node:fs'
import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { tarballFileName } from '#core/paths.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { ensureBusybox } from '../support/images.ts'
import { type RunnerProcess, startRunner } from './support/runner-process.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

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

  function order(version: number, command = ['cat', '/content'], digest: string | null = null): TaskOrder {
    return createOrder('', command, { environment, version, fileName: tarballFileName(environment, version), configDigest: digest })
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
    const id = await pack(1, 'one')
    const first = order(1, undefined, id)
    await run(first)
    const second = order(1, undefined, id)
    await run(second)
    expect(runner.log().split(`loaded ${tarballFileName(environment, 1)}`)).toHaveLength(2)
    expect(host.reports.filter(({ id: task, state }) => task === second.id && state === 'syncing')).toEqual([])
  })

  it('runs the version that it was given, and removes a superseded one that nothing uses', async () => {
    const old = await pack(1, 'old')
    await run(order(1, undefined, old))
    const fresh = await pack(2, 'new')
    const report = await run(order(2, undefined, fresh))
    expect(await workspace.stdout(report.id)).toBe('new\n')
    await expect.poll(() => engine.inspectImage(old)).toBeUndefined()
    const again = await run(order(1, undefined, old))
    expect(await workspace.stdout(again.id)).toBe('old\n')
    expect(await engine.inspectImage(fresh)).toBeDefined()
  })

  it('keeps a superseded version while a task uses it', async () => {
    const old = await pack(1, 'old')
    const long = order(1, ['sh', '-c', 'until [ -e /shared/go ]; do sleep 0.05; done'], old)
    await runner.put(long)
    await host.untilState(long.id, 'running')
    await run(order(2, undefined, await pack(2, 'new')))
    expect(await engine.inspectImage(old)).toBeDefined()
    await writeFile(join(workspace.paths.data, 'go'), '')
    await host.untilFinal(long.id)
    await expect.poll(() => engine.inspectImage(old)).toBeUndefined()
  })

  it('loads again what was removed behind its back', async () => {
    const id = await pack(1, 'one')
    await run(order(1, undefined, id))
    await expect.poll(async () => (await workspace.containers()).size).toBe(0)
    await engine.removeImage(id)
    const report = await run(order(1, undefined, id))
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
    const ready = await pack(1, 'ready')
    await run(order(1, undefined, ready))
    const other = environment
    environment = `env-${createId()}`
    await pack(1, 'other')
    const loading = order(1)
    const warm = { ...order(1, undefined, ready), environment: other, fileName: tarballFileName(other, 1) }
    await Promise.all([runner.put(loading), runner.put(warm)])
    expect(await host.untilFinal(warm.id)).toMatchObject({ state: 'succeeded' })
    expect(await host.untilFinal(loading.id)).toMatchObject({ state: 'succeeded' })
  })
})
