import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Kysely } from 'kysely'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { demultiplex } from '#core/engine/demultiplex.ts'
import { HakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { forkTag } from '#core/paths.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createForks, type Forks } from '#server/environments/fork.ts'
import { undoOperation } from '#server/environments/recovery.ts'
import { createOperations } from '#server/operations/operations.ts'
import { createEnvironmentServices, type EnvironmentServices } from '#test/support/environments.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { type Faults, withFaults } from '#test/support/faulty-engine.ts'
import { ensureBusybox } from '#test/support/images.ts'

describe.skipIf(engineMissing)('a container made from a version', () => {
  const real = testEngine()
  const name = `fork-test-${createId().slice(-8)}`
  const fork = `${name}-gpu`
  let directory: string
  let database: Kysely<Tables>
  let faults: Faults
  let services: EnvironmentServices
  let tarballs: TarballStore
  let forks: Forks
  let version: number

  beforeAll(async () => {
    await ensureBusybox(socketPath)
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-fork-'))
    database = await openDatabase<Tables>(join(directory, 'state', 'host.db'), migrations)
    faults = {}
    tarballs = createFileSystemStore({ directory, ownerId: 'me' })
    const engine = withFaults(real, faults)
    services = await createEnvironmentServices({ engine, database, tarballs, stateDirectory: join(directory, 'state'), keepVersions: 10 })
    forks = createForks({ engine, tarballs, ...services })
    expect(await end(services.containers.create(createContainerBody.parse({ name, image: 'busybox:latest', env: { MADE_OF: 'hand' } })))).toMatchObject({ state: 'succeeded' })
    await run(name, 'echo proof > /proof')
    version = await packageVersion(name)
  })
  afterEach(async () => {
    faults.failOn = undefined
    faults.before = () => undefined
    await database.destroy()
    const tags: string[] = []
    for (const container of [name, fork]) {
      tags.push(...Object.entries((await real.inspectContainer(container))?.labels ?? {}).flatMap(([key, tag]) => (key === 'hakuriver.image' ? [tag] : [])))
      await real.removeContainer(container)
    }
    for (const tag of tags) await real.removeImage(tag)
    rmSync(directory, { recursive: true })
    expect((await real.listImages()).filter(({ labels }) => labels['hakuriver.environment']?.startsWith(name))).toEqual([])
  })

  async function end(started: Promise<Operation>): Promise<Operation> {
    return services.operations.get((await started).id, 60)
  }
  async function packageVersion(environment: string): Promise<number> {
    const operation = await end(services.packaging.start(environment, createVersionBody.parse({})))
    expect(operation).toMatchObject({ state: 'succeeded', error: null })
    return (operation.result as { version: number }).version
  }
  async function run(container: string, script: string): Promise<string> {
    const { stream } = await real.exec(container, { command: ['/bin/sh', '-c', script], tty: false })
    let output = ''
    for await (const { bytes } of demultiplex(stream)) output += String(bytes)
    return output
  }
  const manifestOf = async (environment: string, number: number) => (await tarballs.readManifest(environment, number)) ?? expect.fail(`no manifest of ${environment}`)

  it('is as the version, runs, and shares its layers when it is packaged', async () => {
    const operation = await end(forks.start(name, { name: fork }))
    expect(operation).toMatchObject({ kind: 'fork', environment: fork, state: 'succeeded', result: { name: fork, status: 'running', image: forkTag(fork, name, version) } })
    expect(await run(fork, 'cat /proof; echo $MADE_OF; hostname')).toBe(`proof\nhand\n${fork}\n`)
    await run(fork, 'echo more > /more')
    const own = await packageVersion(fork)
    const [from, to] = [await manifestOf(name, version), await manifestOf(fork, own)]
    expect(to.layers.slice(0, from.layers.length)).toEqual(from.layers)
    expect(to).toMatchObject({ baseLayers: from.layers.length, baseImage: forkTag(fork, name, version) })
    expect(to.layers).toHaveLength(from.layers.length + 1)
    expect(to.newBytes).toBeLessThan(20_000)
    // The image goes with the container.
    await services.containers.remove(fork)
    expect(await real.inspectImage(forkTag(fork, name, version))).toBeUndefined()
  })

  it('gets an environment back whose container was deleted, from any of its versions', async () => {
    await run(name, 'echo worse > /proof')
    await packageVersion(name)
    await services.containers.remove(name)
    expect(await end(forks.start(name, { name, version }))).toMatchObject({ state: 'succeeded' })
    expect(await run(name, 'cat /proof')).toBe('proof\n')
    await run(name, 'echo best > /proof')
    const [from, to] = [await manifestOf(name, version), await manifestOf(name, await packageVersion(name))]
    expect(to.layers.slice(0, from.layers.length)).toEqual(from.layers)
    expect(await text(await tarballs.read(name, to.version))).toContain('best')
  })

  it('moves nobody else\'s tag, and takes an image that the Engine has', async () => {
    await end(forks.start(name, { name: fork }))
    expect(await real.inspectImage(`hakuriver/${name}:base`)).toBeUndefined()
    await services.containers.remove(name)
    faults.failOn = 'loadImage'
    expect(await end(forks.start(name, { name }))).toMatchObject({ state: 'succeeded' })
    await services.containers.remove(name)
    // The other one still needs it.
    expect(await run(fork, 'cat /proof')).toBe('proof\n')
  })

  it.each<[string, () => Promise<unknown>, string]>([
    ['over a container that is there', () => forks.start(name, { name }), 'container.exists'],
    ['of a version that does not exist', () => forks.start(name, { name: fork, version: 5 }), 'tarball.not_found'],
    ['of an environment that was never packaged', () => forks.start(fork, { name: fork }), 'environment.no_version'],
    ['of a tarball of other tools', () => {
      writeFileSync(join(directory, `${name}-5.tar`), 'x')
      return forks.start(name, { name: fork, version: 5 })
    }, 'version.without_manifest'],
    ['while somebody works on the name', () => services.operations.exclusively(fork, () => forks.start(name, { name: fork })), 'environment.busy'],
  ])('%s is refused', async (_, start, code) => {
    await expect(start()).rejects.toThrow(expect.objectContaining({ code }))
    expect(await real.inspectContainer(fork)).toBeUndefined()
  })

  it('that has the name of a stranger\'s container is refused', async () => {
    const id = await real.createContainer({ name: fork, image: 'busybox:latest', command: ['sleep', '100'], env: {}, labels: {}, mounts: [], logs: 'none' })
    await expect(forks.start(name, { name: fork })).rejects.toThrow(expect.objectContaining({ code: 'container.name_taken' }))
    await real.removeContainer(id)
  })

  it('leaves nothing when the version is damaged', async () => {
    const { layers } = await manifestOf(name, version)
    const handle = await open(join(directory, `${name}-${version}.tar`), 'r+')
    await handle.write(Buffer.from('!'), 0, 1, (layers.at(-1)?.offset ?? 0) + 512)
    await handle.close()
    expect(await end(forks.start(name, { name: fork }))).toMatchObject({ state: 'failed', error: { code: 'tarball.damaged' } })
    expect(services.marks.get(name, version).damage).toContain(`${name}-${version}.tar is damaged`)
    expect(await real.inspectContainer(fork)).toBeUndefined()
  })

  it.each(['loadImage', 'createContainer', 'startContainer', 'waitContainer'] as const)('leaves nothing when the Engine fails at %s', async (method) => {
    faults.failOn = method
    faults.error = new HakuError('engine.failed', 'it broke')
    expect(await end(forks.start(name, { name: fork }))).toMatchObject({ state: 'failed', error: { code: 'engine.failed' } })
    expect(await real.inspectContainer(fork)).toBeUndefined()
  })

  it('is undone when cancelled, and at the next start when the Host was killed', async () => {
    const cancelled = forks.start(name, { name: fork })
    faults.before = async (method) => {
      if (method === 'startContainer') await services.operations.cancel((await cancelled).id)
    }
    expect(await end(cancelled)).toMatchObject({ state: 'cancelled' })
    expect(await real.inspectContainer(fork)).toBeUndefined()

    const reached = new Promise<void>((resolve) => {
      faults.before = (method) => {
        if (method !== 'waitContainer') return undefined
        resolve()
        // A Host that is killed never comes back from its call to the Engine.
        return new Promise<void>(() => undefined)
      }
    })
    await forks.start(name, { name: fork })
    await reached
    expect((await real.inspectContainer(fork))?.status).toBe('running')
    await createOperations(database).recover((operation) => undoOperation(real, operation))
    expect(await real.inspectContainer(fork)).toBeUndefined()
  })
})
