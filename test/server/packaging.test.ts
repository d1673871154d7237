import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import type { Kysely } from 'kysely'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation, type Version } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TarballStore, TarballWriter } from '#core/tarballs/store.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import type { Containers } from '#server/environments/containers.ts'
import type { Packaging } from '#server/environments/packaging.ts'
import type { VersionMarks } from '#server/environments/marks.ts'
import { undoOperation } from '#server/environments/recovery.ts'
import { createOperations, type Operations } from '#server/operations/operations.ts'
import { createEnvironmentServices } from '#test/support/environments.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { type Faults, withFaults } from '#test/support/faulty-engine.ts'
import { ensureBusybox } from '#test/support/images.ts'

// Where the Host can read the writable layer, and where the Engine has to commit it.
describe.skipIf(engineMissing).each(['captured', 'committed'] as const)('packaging, %s', (way) => {
  const real = testEngine()
  const name = `pack-test-${createId().slice(-8)}`
  let directory: string
  let database: Kysely<Tables>
  let faults: Faults
  let engine: Engine
  let operations: Operations
  let containers: Containers
  let tarballs: TarballStore
  let packaging: Packaging
  let inUse: Set<number>
  let marks: VersionMarks

  beforeAll(async () => {
    await ensureBusybox(socketPath)
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-packaging-'))
    database = await openDatabase<Tables>(join(directory, 'state', 'host.db'), migrations)
    faults = { hidesUpperDir: way === 'committed' }
    engine = withFaults(real, faults)
    inUse = new Set()
    await build(createFileSystemStore({ directory, ownerId: 'me' }))
    expect(await end(containers.create(createContainerBody.parse({ name, image: 'busybox:latest' })))).toMatchObject({ state: 'succeeded' })
  })
  afterEach(async () => {
    faults.failOn = undefined
    faults.before = () => undefined
    await database.destroy()
    await real.removeContainer(name)
    rmSync(directory, { recursive: true })
  })
  afterAll(async () => {
    expect(await real.inspectImage(`hakuriver/${name}:base`)).toBeUndefined()
  })

  async function build(store: TarballStore): Promise<void> {
    tarballs = store
    ;({ operations, containers, packaging, marks } = await createEnvironmentServices({ engine, database, tarballs, stateDirectory: join(directory, 'state'), inUse: () => inUse }))
  }

  async function end(started: Promise<Operation>): Promise<Operation> {
    return operations.get((await started).id, 60)
  }

  async function run(script: string): Promise<void> {
    const { stream } = await real.exec(name, { command: ['/bin/sh', '-c', script], tty: false })
    for await (const _ of stream.resume()) continue
  }

  async function manifestOf({ error, result }: Operation) {
    expect(error).toBeNull()
    return tarballs.readManifest(name, (result as Version).version)
  }

  const files = () => readdirSync(directory).filter((file) => file !== 'state').toSorted()
  const status = async () => (await real.inspectContainer(name))?.status

  it('publishes a version, leaves no image, and gives the running container back', async () => {
    const operation = await end(packaging.start(name, createVersionBody.parse({ note: 'first' })))
    expect(operation).toMatchObject({ state: 'succeeded', error: null, result: { environment: name, note: 'first', baseImage: 'busybox:latest' } })
    expect(files()).toHaveLength(2)
    expect(await status()).toBe('running')
    expect((await tarballs.list())[0]?.environment).toBe(name)
  })

  it('takes the version before away, of this very name', async () => {
    writeFileSync(join(directory, `${name}-gpu-1700000000.tar`), '')
    await end(packaging.start(name, createVersionBody.parse({ note: '' })))
    const second = await end(packaging.start(name, createVersionBody.parse({ note: '' })))
    const { result } = second as { result: { version: number } }
    expect(files()).toEqual([`${name}-${result.version}.json`, `${name}-${result.version}.tar`, `${name}-gpu-1700000000.tar`].toSorted())
  })

  it('stores only what changed since the version before, and the rest where it was', async () => {
    await run('head -c 3000000 /dev/urandom > /large; mkdir /dir; echo 1 > /dir/a; echo 2 > /dir/b')
    const first = await manifestOf(await end(packaging.start(name, createVersionBody.parse({ keep: 9 }))))
    await run('rm /dir/a; echo 3 > /dir/c')
    const second = await manifestOf(await end(packaging.start(name, createVersionBody.parse({ keep: 9 }))))
    expect(second?.layers.slice(0, -1)).toEqual(first?.layers)
    expect(second?.newBytes).toBeLessThan(10_000)
    expect(second?.layers).toHaveLength((first?.layers.length ?? 0) + 1)
    const third = await manifestOf(await end(packaging.start(name, createVersionBody.parse({ keep: 9 }))))
    expect(third).toMatchObject({ layers: second?.layers, newBytes: 0 })
  })

  it('builds nothing on a damaged layer, so that packaging again cures it', async () => {
    const first = await manifestOf(await end(packaging.start(name, createVersionBody.parse({ keep: 9 }))))
    const file = join(directory, `${name}-${first?.version}.tar`)
    const bytes = readFileSync(file)
    const at = (first?.layers[0]?.offset ?? 0) + 100_000
    writeFileSync(file, bytes.fill((bytes[at] ?? 0) ^ 1, at, at + 1))
    // Of a version without a captured state all layers of the base image are looked for.
    rmSync(join(directory, 'state', 'captures', name))
    await run('echo changed > /changed')
    const second = await manifestOf(await end(packaging.start(name, createVersionBody.parse({ keep: 9 }))))
    expect(marks.get(name, first?.version ?? 0).damage).toContain(`${name}-${first?.version}.tar is damaged`)
    for (const { digest, offset, size } of second?.layers ?? []) {
      const content = await buffer(await tarballs.read(name, second?.version ?? 0, { start: offset, end: offset + size }))
      expect(`sha256:${createHash('sha256').update(content).digest('hex')}`).toBe(digest)
    }
  })

  it('publishes nothing when somebody else starts the container meanwhile', async () => {
    let looks = 0
    let isStopped = false
    faults.before = async (method) => {
      isStopped ||= method === 'stopContainer'
      // The first look comes right after the stop, the second one after the change was read.
      if (isStopped && method === 'inspectContainer' && ++looks === 2) await real.startContainer(name)
    }
    expect(await end(packaging.start(name, createVersionBody.parse({})))).toMatchObject({ state: 'failed', error: { code: 'environment.busy', detail: expect.stringContaining('started by another program') } })
    expect(files()).toEqual([])
    expect(await status()).toBe('running')
  })

  it('names a file that no image can hold; of a commit the Engine does', async () => {
    await run('mkdir /q; echo y > /q/.wh.1')
    const { state, error } = await end(packaging.start(name, createVersionBody.parse({})))
    expect([state, error?.code, error?.detail.includes('q/.wh.1')]).toEqual(['failed', way === 'captured' ? 'environment.not_packageable' : 'engine.failed', true])
    expect(await status()).toBe('running')
    await run('rm -r /q')
    expect(await end(packaging.start(name, createVersionBody.parse({})))).toMatchObject({ state: 'succeeded' })
  })

  it('captures a paused container as it is, and leaves it paused', async () => {
    await real.pauseContainer(name)
    expect(await end(packaging.start(name, createVersionBody.parse({})))).toMatchObject({ state: 'succeeded' })
    expect(await status()).toBe('paused')
  })

  it('succeeds once it is published, whatever can not be tidied up', async () => {
    const store = createFileSystemStore({ directory, ownerId: 'me' })
    const first = (await end(packaging.start(name, createVersionBody.parse({})))) as { result: Version }
    mkdirSync(join(directory, 'state', 'captures', `${name}~`), { recursive: true })
    await build({ ...store, remove: () => Promise.reject(new HakuError('storage.unavailable', 'it can not be removed')) })
    const second = await end(packaging.start(name, createVersionBody.parse({})))
    expect(second).toMatchObject({ state: 'succeeded', result: { current: true } })
    expect(files()).toContain(first.result.fileName)
    rmSync(join(directory, 'state', 'captures', `${name}~`), { recursive: true })
  })

  it('begins a new chain once most of the old one is dead', async () => {
    const sizes: number[] = []
    for (let round = 0; round < 4; round += 1) {
      await run('head -c 70000000 /dev/urandom > /large')
      sizes.push((await manifestOf(await end(packaging.start(name, createVersionBody.parse({ keep: 9 })))))?.layers.length ?? 0)
    }
    expect(Math.max(...sizes)).toBeLessThan(5)
    expect(sizes).toContain(3)
  })

  it('keeps a version that a task waits for', async () => {
    const { result } = (await end(packaging.start(name, createVersionBody.parse({ note: '' })))) as { result: { version: number } }
    inUse.add(result.version)
    await end(packaging.start(name, createVersionBody.parse({ note: '' })))
    expect((await tarballs.listVersions(name)).map(({ version }) => version)).toContain(result.version)
  })

  it('leaves a stopped container stopped', async () => {
    await containers.stop(name)
    expect(await end(packaging.start(name, createVersionBody.parse({ note: '' })))).toMatchObject({ state: 'succeeded' })
    expect(await status()).toBe('exited')
  })

  it('versions grow, also when the clock does not', async () => {
    writeFileSync(join(directory, `${name}-99999999999.tar`), '')
    const { result } = (await end(packaging.start(name, createVersionBody.parse({ note: '' })))) as { result: { version: number } }
    expect(result.version).toBe(100_000_000_000)
  })

  it('refuses a second one at the same time, and other changes too', async () => {
    const first = packaging.start(name, createVersionBody.parse({ note: '' }))
    await first
    await expect(packaging.start(name, createVersionBody.parse({ note: '' }))).rejects.toThrow(expect.objectContaining({ code: 'environment.busy' }))
    await expect(containers.stop(name)).rejects.toThrow(expect.objectContaining({ code: 'environment.busy' }))
    await expect(containers.remove(name)).rejects.toThrow(expect.objectContaining({ code: 'environment.busy' }))
    expect(await end(first)).toMatchObject({ state: 'succeeded' })
  })

  describe.each(['running', 'exited'] as const)('a failure, with the container %s', (before) => {
    it.each(['stopContainer', way === 'captured' ? 'startContainer' : 'commitContainer', 'inspectImage', 'saveImage'] as const)('of %s gives back what was there', async (method) => {
      // Captured, the Engine is only asked for the base image, the first time.
      if (way === 'committed' || method !== 'saveImage') await end(packaging.start(name, createVersionBody.parse({ note: '' })))
      await run('echo changed > /changed')
      const published = files()
      if (before === 'exited') await containers.stop(name)
      faults.failOn = method
      faults.error = new HakuError('engine.failed', 'it broke')
      const operation = await end(packaging.start(name, createVersionBody.parse({ note: '' })))
      // A stopped container is neither stopped nor started.
      const failed = !((method === 'stopContainer' || method === 'startContainer') && before === 'exited')
      expect({ state: operation.state, code: operation.error?.code, tells: operation.error?.detail.includes('it broke') }).toEqual(failed ? { state: 'failed', code: 'engine.failed', tells: true } : { state: 'succeeded' })
      // What can not be started can not be given back either: the next start of the Host does.
      if (method === 'startContainer' && failed) {
        faults.failOn = undefined
        await createOperations(database).recover((each) => undoOperation(real, each))
      }
      expect(await status()).toBe(before)
      expect(files().join() === published.join()).toBe(failed)
      expect(await temporaryImages()).toEqual([])
    })

    it.each(['write', 'finish', 'publish'] as const)('of the storage at %s gives back what was there', async (method) => {
      const store = createFileSystemStore({ directory, ownerId: 'me' })
      await build({ ...store, createWriter: async (...args) => failing(await store.createWriter(...args), method) })
      if (before === 'exited') await containers.stop(name)
      expect(await end(packaging.start(name, createVersionBody.parse({ note: '' })))).toMatchObject({ state: 'failed', error: { code: 'storage.full' } })
      expect(files()).toEqual([])
      expect(await status()).toBe(before)
    })
  })

  it('gives the container back when an Engine that went away in the middle is back', async () => {
    faults.before = (method) => {
      if (method === (way === 'captured' ? 'startContainer' : 'commitContainer')) faults.isDown = true
    }
    expect(await end(packaging.start(name, createVersionBody.parse({ note: '' })))).toMatchObject({ state: 'failed', error: { code: 'engine.unavailable' } })
    expect(await status()).toBe('exited')
    faults.before = () => undefined
    faults.isDown = false
    await expect.poll(status, { timeout: 20_000 }).toBe('running')
    expect(files()).toEqual([])
  })

  it('is undone when cancelled while it reads the change', async () => {
    await run('for i in 1 2 3 4; do head -c 100000000 /dev/urandom > /large-$i; done')
    const { id } = await packaging.start(name, createVersionBody.parse({}))
    await expect.poll(async () => (await operations.get(id)).progress.phase, { interval: 5, timeout: 20_000 }).toMatch(/capture|commit/)
    await operations.cancel(id)
    expect(await operations.get(id, 60)).toMatchObject({ state: 'cancelled', error: { code: 'operation.cancelled' } })
    expect(files()).toEqual([])
    expect(await status()).toBe('running')
  })

  it('is undone when cancelled', async () => {
    faults.before = (method) => (method === 'saveImage' ? void operations.cancel(started) : undefined)
    const operation = await packaging.start(name, createVersionBody.parse({ note: '' }))
    const started = operation.id
    expect(await operations.get(started, 60)).toMatchObject({ state: 'cancelled', error: { code: 'operation.cancelled' } })
    expect(files()).toEqual([])
    expect(await status()).toBe('running')
    await expect(operations.cancel(started)).rejects.toThrow(expect.objectContaining({ code: 'operation.finished' }))
  })

  it('is undone at the next start when the Host was killed', async () => {
    // A Host that is killed never comes back from its call to the Engine.
    const reached = new Promise<void>((resolve) => {
      faults.before = (method) => {
        if (method !== (way === 'captured' ? 'startContainer' : 'commitContainer')) return undefined
        resolve()
        return new Promise<void>(() => undefined)
      }
    })
    const { id } = await packaging.start(name, createVersionBody.parse({ note: '' }))
    await reached
    expect(await status()).toBe('exited')
    const next = createOperations(database)
    await next.recover((operation) => undoOperation(real, operation))
    expect(await status()).toBe('running')
    expect(await temporaryImages()).toEqual([])
    expect(await next.get(id)).toMatchObject({ state: 'failed', error: { code: 'operation.interrupted' } })
  })

  it('knows only containers that HakuRiver made', async () => {
    const foreign = `${name}-foreign`
    const id = await real.createContainer({ name: foreign, image: 'busybox:latest', command: ['sleep', '100'], env: {}, labels: {}, mounts: [], logs: 'none' })
    try {
      await expect(packaging.start(foreign, createVersionBody.parse({ note: '' }))).rejects.toThrow(expect.objectContaining({ code: 'container.not_found' }))
      await expect(containers.stop(foreign)).rejects.toThrow(expect.objectContaining({ code: 'container.not_found' }))
      expect((await containers.list()).map((container) => container.name)).not.toContain(foreign)
      const create = (ifNotExists: boolean) => containers.create(createContainerBody.parse({ name: foreign, image: 'busybox:latest', ifNotExists }))
      await expect(create(false)).rejects.toThrow(expect.objectContaining({ code: 'container.name_taken' }))
      await expect(create(true)).rejects.toThrow(expect.objectContaining({ code: 'container.name_taken' }))
    } finally {
      await real.removeContainer(id)
    }
  })

  it('creates again only what is the same, and only when asked to', async () => {
    const again = (change: object) => containers.create(createContainerBody.parse({ name, image: 'busybox:latest', ...change }))
    await expect(again({})).rejects.toThrow(expect.objectContaining({ code: 'container.exists' }))
    await expect(again({ ifNotExists: true, env: { X: '1' } })).rejects.toThrow(expect.objectContaining({ code: 'container.exists' }))
    expect(await end(again({ ifNotExists: true }))).toMatchObject({ state: 'succeeded', result: { name } })
  })

  async function temporaryImages(): Promise<string[]> {
    const { items } = await operations.list({ limit: 100 })
    const tags = items.map(({ id }) => `hakuriver/${name}:packaging-${id}`)
    const found = await Promise.all(tags.map((tag) => real.inspectImage(tag)))
    return tags.filter((_, index) => found[index] !== undefined)
  }
})

function failing(writer: TarballWriter, method: 'write' | 'finish' | 'publish'): TarballWriter {
  const full = () => Promise.reject(new HakuError('storage.full', 'no room'))
  return {
    get position() {
      return writer.position
    },
    write: (chunk) => (method === 'write' && writer.position > 0 ? full() : writer.write(chunk)),
    finish: () => (method === 'finish' ? full() : writer.finish()),
    publish: (manifest) => (method === 'publish' ? full() : writer.publish(manifest)),
    abort: () => writer.abort(),
  }
}
