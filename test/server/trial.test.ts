import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { createCapturedStates } from '#server/environments/capture/states.ts'
import { type Containers, createContainers } from '#server/environments/containers.ts'
import { createPackaging, type Packaging } from '#server/environments/packaging.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { createHostServices, type HostServices } from './support/host-services.ts'

describe.skipIf(engineMissing)('packaging with a test', () => {
  const engine = testEngine()
  const name = `trial-test-${createId().slice(-8)}`
  let directory: string
  let host: HostServices
  let containers: Containers
  let packaging: Packaging
  let before: number

  beforeAll(async () => {
    await ensureBusybox(socketPath)
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-trial-'))
    host = await createHostServices(directory)
    containers = createContainers({ engine, operations: host.operations, allowedMounts: [] })
    packaging = createPackaging({ ...host, engine, containers, states: createCapturedStates(join(directory, 'captures')), spoolDirectory: join(directory, 'spool') })
    expect(await end(await containers.create(createContainerBody.parse({ name, image: 'busybox:latest' })))).toMatchObject({ state: 'succeeded' })
    const operation = await end(await packaging.start(name, createVersionBody.parse({})))
    before = (operation.result as { version: number }).version
    await host.register('a')
  })
  afterEach(async () => {
    await host.close()
    await engine.removeContainer(name)
    rmSync(directory, { recursive: true })
  })

  const end = ({ id }: Operation) => host.operations.get(id, 60)
  const versions = async () => (await host.tarballs.listVersions(name)).map(({ version }) => version)
  const report = (id: string, seen: Parameters<HostServices['node']['report']>[1]) => host.tasks.report('a', 'a', [host.node.report(id, seen)])

  /** Starts packaging, and resolves once its test has reached the node. */
  async function begin(): Promise<{ operation: Operation; task: string; candidate: number }> {
    const operation = await packaging.start(name, createVersionBody.parse({ test: 'test -e /proof', keep: 1 }))
    await expect.poll(() => [...host.node.orders.values()], { timeout: 20_000 }).toHaveLength(1)
    const [order] = host.node.orders.values()
    return { operation, task: order?.id ?? '', candidate: order?.image?.version ?? 0 }
  }

  it('keeps the version back until it has passed, and prunes only then', async () => {
    const { operation, task, candidate } = await begin()
    expect(await versions()).toEqual([candidate, before])
    expect(await host.versions.resolve(name)).toMatchObject({ version: before })
    // The container is not needed for it any more.
    expect((await engine.inspectContainer(name))?.status).toBe('running')
    expect(await host.operations.get(operation.id)).toMatchObject({ state: 'running', progress: { phase: 'test' } })
    await report(task, { state: 'succeeded', exitCode: 0 })
    expect(await end(operation)).toMatchObject({ state: 'succeeded', result: { version: candidate, current: true, candidate: false } })
    expect(await versions()).toEqual([candidate])
  })

  it('leaves all as it was if it fails, and the next version is built on the one before', async () => {
    const { operation, task } = await begin()
    writeFileSync(host.paths.stdout(task, 1), 'no proof\n')
    await report(task, { state: 'failed', reason: 'exited', exitCode: 1 })
    expect(await end(operation)).toMatchObject({ state: 'failed', error: { code: 'version.test_failed', detail: expect.stringMatching(/ended with code 1[^]*no proof$/) } })
    expect(await versions()).toEqual([before])
    const next = await end(await packaging.start(name, createVersionBody.parse({ keep: 5 })))
    expect(next).toMatchObject({ state: 'succeeded', result: { newBytes: 0 } })
  })

  it('is cancelled with its task', async () => {
    const { operation, task } = await begin()
    await host.operations.cancel(operation.id)
    await host.node.killed(task)
    await report(task, { state: 'killed', reason: 'user' })
    expect(await end(operation)).toMatchObject({ state: 'cancelled' })
    expect([await versions(), host.marks.candidates()]).toEqual([[before], []])
  })
})
