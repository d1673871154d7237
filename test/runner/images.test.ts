import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { SyncProgress } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { openRunnerState, type RunnerState } from '#runner/state/state.ts'
import { createImages, type Images } from '#runner/sync/images.ts'
import { createInventory, type Inventory } from '#runner/sync/inventory.ts'
import { createPrefetches } from '#runner/sync/prefetches.ts'
import { engineMissing, socketPath, testEngine } from '../support/engine.ts'
import { type Faults, withFaults } from '../support/faulty-engine.ts'
import { layerOf, publishVersion } from '../support/versions.ts'
import { createBaseLayer, importBase, orderOf } from '../support/base-layer.ts'
import { digestOf } from '../support/bytes.ts'
import { watchStore, type WatchedStore } from './support/watched-store.ts'
import { createOrder, createWorkspace, type Workspace } from './support/workspace.ts'

/** Larger than what is read ahead anywhere. */
const CHANGE = Buffer.alloc(3_000_000, createId())

describe.skipIf(engineMissing !== undefined)('images of a node', () => {
  const engine = testEngine()
  let workspace: Workspace
  let published: TarballStore
  let store: WatchedStore
  let state: RunnerState
  let inventory: Inventory
  let faults: Faults
  let closing: AbortController
  let base: Buffer
  let environment: string

  beforeAll(async () => {
    workspace = await createWorkspace(engine)
    published = createFileSystemStore({ directory: workspace.paths.tarballs, ownerId: 'host', mark: workspace.paths.mark })
  })
  beforeEach(async () => {
    environment = `env-${createId()}`
    base = await createBaseLayer(createId())
    faults = {}
    store = watchStore(published)
    state = await openRunnerState(join(workspace.root, `${createId()}.db`))
    inventory = createInventory({ engine, state })
    closing = new AbortController()
  })
  afterEach(async () => {
    closing.abort(new Error('closing'))
    await state.close()
    for (const { id } of await imagesOf(environment)) await engine.removeImage(id)
  })
  afterAll(() => workspace?.remove())

  function images(limitBytes?: number, over: Partial<{ engine: Engine }> = {}): Images {
    return createImages({ engine: over.engine ?? withFaults(engine, faults), state, inventory, tarballs: store, neighbours: undefined, limitBytes, closing: closing.signal })
  }
  const publish = (version: number, layers: Buffer[], name = environment) => publishVersion(published, { environment: name, version, layers })

  async function imagesOf(name: string) {
    return (await engine.listImages()).filter((image) => image.labels[labels.environment]?.startsWith(name))
  }

  /** A task that waits for the version. */
  function wait(on: Images, manifest: VersionManifest) {
    const told: { progress: SyncProgress[]; trouble: (string | null)[] } = { progress: [], trouble: [] }
    const killing = new AbortController()
    const result = on.ensure(orderOf(manifest), {
      signal: killing.signal,
      onProgress: (progress) => told.progress.push(progress),
      onTrouble: (message) => told.trouble.push(message),
    })
    result.catch(() => undefined)
    return { ...told, result, kill: () => killing.abort(new Error('killed')) }
  }

  /** Holds the storage back before this byte. */
  function holdAt(bytes: number) {
    let release: () => void = () => undefined
    let reach: () => void = () => undefined
    const reached = new Promise<void>((resolve) => (reach = resolve))
    store.knobs.holdAt = { bytes, reached: reach, until: new Promise((resolve) => (release = resolve)) }
    return { reached, release }
  }

  async function runIn(image: string, command: string[]): Promise<number> {
    const id = await engine.createContainer({ name: `test-images-${createId()}`, image, command, env: {}, labels: { [labels.node]: workspace.hostname }, mounts: [], network: 'none', logs: 'none' })
    await engine.startContainer(id)
    const code = await engine.waitContainer(id)
    await engine.removeContainer(id)
    return code
  }

  it('reads only the layers that the node lacks', async () => {
    const [change, more] = [layerOf({ 'change': CHANGE }), layerOf({ 'more': createId() })]
    await wait(images(), await publish(1, [base, change])).result
    expect(store.bytesRead).toBe(base.length + change.length)
    store.bytesRead = 0
    store.ranges = []
    const next = await publish(2, [base, change, more])
    const task = wait(images(), next)
    const image = await task.result
    expect(store.bytesRead).toBe(more.length)
    expect(store.ranges).toEqual([{ start: next.layers[2]?.offset, end: (next.layers[2]?.offset ?? 0) + more.length }])
    expect(task.progress[0]).toEqual({ bytes: 0, totalBytes: more.length, bytesPerSecond: null })
    expect(await runIn(image, ['test', '-s', '/change', '-a', '-s', '/more'])).toBe(0)
  })

  it('knows layers of other environments and of base images', async () => {
    const reference = `test-base-${createId()}:one`
    await importBase(socketPath, base, reference)
    try {
      const change = layerOf({ 'change': createId() })
      await wait(images(), await publish(1, [base, change])).result
      expect(store.bytesRead).toBe(change.length)
      const more = layerOf({ 'more': createId() })
      await wait(images(), await publish(1, [base, change, more], `${environment}-other`)).result
      expect(store.bytesRead).toBe(change.length + more.length)
    } finally {
      await engine.removeImage(reference)
    }
  })

  it('reads nothing at all when packaging changed nothing but the name', async () => {
    await wait(images(), await publish(1, [base])).result
    store.bytesRead = 0
    await wait(images(), await publish(1, [base], `${environment}-fork`)).result
    expect(store.bytesRead).toBe(0)
    expect(await inventory.holdings()).toMatchObject({ images: [{ environment, version: 1 }, { environment: `${environment}-fork`, version: 1 }], layers: expect.arrayContaining([digestOf(base)]) })
  })

  it('loads all of it if the Engine does not take a part', async () => {
    await wait(images(), await publish(1, [base])).result
    const change = layerOf({ 'change': createId() })
    let loads = 0
    faults.before = (method) => {
      if (method === 'loadImage' && ++loads === 1) throw new HakuError('engine.failed', 'The Docker Engine says: failed to resolve layers')
    }
    store.bytesRead = 0
    const image = await wait(images(), await publish(2, [base, change])).result
    expect(loads).toBe(2)
    expect(store.bytesRead).toBe(base.length + change.length)
    expect(await runIn(image, ['test', '-s', '/change'])).toBe(0)
  })

  it('goes on where it was when the storage stutters, and says so', async () => {
    store.knobs.failAt = { bytes: base.length + 1_000_000, times: 2, error: new HakuError('storage.unavailable', 'The share hangs.') }
    const task = wait(images(), await publish(1, [base, layerOf({ 'change': CHANGE })]))
    const image = await task.result
    expect(task.trouble).toEqual(expect.arrayContaining([expect.stringContaining('The share hangs.'), null]))
    expect(store.ranges).toHaveLength(4)
    // Nothing was read twice.
    expect(store.ranges[2]?.start).toBeGreaterThan(store.ranges[1]?.start ?? 0)
    expect(await runIn(image, ['test', '-s', '/change'])).toBe(0)
  })

  it('fails when the storage does not come back', { timeout: 30_000 }, async () => {
    store.knobs.failAt = { bytes: 1_000_000, times: Infinity, error: new HakuError('storage.unavailable', 'The share hangs.') }
    await expect(wait(images(), await publish(1, [base])).result).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('5 times') })
    expect(await imagesOf(environment)).toEqual([])
  })

  it('finds a version that the node sees late', async () => {
    store.knobs.missesToCome = 2
    const task = wait(images(), await publish(1, [base]))
    await task.result
    expect(await imagesOf(environment)).toHaveLength(1)
    expect(task.trouble).toEqual([expect.stringContaining('not to be seen on this node yet'), expect.stringContaining('not to be seen on this node yet'), null])
  })

  it('refuses a damaged layer before the Engine has any of the version, and names it', async () => {
    const manifest = await publish(1, [base, layerOf({ 'change': CHANGE })])
    const file = join(workspace.paths.tarballs, `${environment}-1.tar`)
    const bytes = await readFile(file)
    const { offset = 0, digest = '' } = manifest.layers[1] ?? {}
    bytes.writeUInt8(bytes.readUInt8(offset + 2_000_000) ^ 1, offset + 2_000_000)
    await writeFile(file, bytes)
    const task = wait(images(), manifest)
    await expect(task.result).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(new RegExp(`${environment}-1.tar.*${digest}.*found sha256:`)) })
    expect(await imagesOf(environment)).toEqual([])
    expect(task.trouble).toEqual([])
  })

  it('never takes the empty directory of a mount that is gone for one without tarballs', async () => {
    const manifest = await publish(1, [base])
    const directory = join(workspace.root, 'empty')
    await mkdir(directory)
    store = watchStore(createFileSystemStore({ directory, ownerId: 'host', mark: join(directory, 'mark') }))
    await expect(wait(images(), manifest).result).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('mounted') })
  })

  it('ends the load when the last waiting task is killed, and leaves nothing', async () => {
    const manifest = await publish(1, [base, layerOf({ 'change': CHANGE })])
    const hold = holdAt(base.length + 1_000_000)
    const all = images()
    const tasks = [wait(all, manifest), wait(all, manifest)]
    await hold.reached
    tasks[0]?.kill()
    await expect(tasks[0]?.result).rejects.toThrow('killed')
    expect(store.ranges).toHaveLength(2)
    tasks[1]?.kill()
    await expect(tasks[1]?.result).rejects.toThrow('killed')
    store.knobs.holdAt = undefined
    hold.release()
    expect(await imagesOf(environment)).toEqual([])
    // And the next task finds nothing in its way.
    expect(await runIn(await wait(all, manifest).result, ['test', '-s', '/change'])).toBe(0)
  })

  it('does not let a task of another environment wait', async () => {
    const held = await publish(1, [base, layerOf({ 'change': CHANGE })])
    const free = await publish(1, [base, layerOf({ 'free': createId() })], `${environment}-free`)
    const hold = holdAt(base.length + 1_000_000)
    const all = images()
    const waiting = wait(all, held)
    await hold.reached
    store.knobs.holdAt = undefined
    expect(await wait(all, free).result).toMatch(/^sha256:/)
    hold.release()
    expect(await waiting.result).toMatch(/^sha256:/)
  })

  it('keeps within the limit: the least recently used go, and none that a task was given', async () => {
    const own = () => [base, layerOf({ 'own': Buffer.alloc(1_000_000, createId()) })]
    const manifests = []
    for (const name of ['a', 'b', 'c', 'd']) manifests.push(await publish(1, own(), `${environment}-${name}`))
    const [a, b, c, d] = manifests as [VersionManifest, VersionManifest, VersionManifest, VersionManifest]
    const all = images(base.length + 2_500_000)
    const held = () => state.listImages().map(({ environment: name }) => name.slice(-1)).join('')
    const record = { order: createOrder('', ['true'], { image: orderOf(a) }), acknowledged: 0, wish: 'run', isTimedOut: false, handle: null, cpus: null, released: null } as const
    const report = { id: record.order.id, instance: 1, sequence: 1, state: 'running', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null } as const
    await state.save({ ...record, report })
    for (const manifest of [a, b, c]) await wait(all, manifest).result
    await all.sweep()
    expect(held()).toBe('ac')
    await state.save({ ...record, report: { ...report, state: 'succeeded' } })
    await wait(all, a).result
    await wait(all, d).result
    await all.sweep()
    expect(held()).toBe('ad')
    // The end of a task counts as its beginning does.
    all.touch(orderOf(a))
    await wait(all, b).result
    await all.sweep()
    expect(held()).toBe('ab')
    expect((await imagesOf(environment)).map((image) => image.labels[labels.environment]?.slice(-1)).toSorted()).toEqual(['a', 'b'])
  })

  it('loads without a task when the Host asks, and gives up when it asks no more', async () => {
    const manifest = await publish(1, [base, layerOf({ 'change': CHANGE })])
    const all = images()
    const prefetches = createPrefetches(all, closing.signal)
    const never = new AbortController().signal
    const hold = holdAt(base.length + 1_000_000)
    expect(await prefetches.request(orderOf(manifest), { waitMs: 0, signal: never })).toMatchObject({ state: 'loading' })
    await hold.reached
    expect(await prefetches.request(orderOf(manifest), { waitMs: 0, signal: never })).toMatchObject({ state: 'loading', sync: { totalBytes: base.length + (manifest.layers[1]?.size ?? 0) } })
    prefetches.cancel(manifest)
    prefetches.cancel(manifest)
    store.knobs.holdAt = undefined
    hold.release()
    expect(await imagesOf(environment)).toEqual([])
    expect(await prefetches.request(orderOf(manifest), { waitMs: 60_000, signal: never })).toMatchObject({ state: 'ready' })
    expect(await imagesOf(environment)).toHaveLength(1)
    // An image that somebody removed is loaded again.
    for (const { id } of await imagesOf(environment)) await engine.removeImage(id)
    expect(await prefetches.request(orderOf(manifest), { waitMs: 60_000, signal: never })).toMatchObject({ state: 'ready' })
    expect(await imagesOf(environment)).toHaveLength(1)
  })

  it('keeps an older version that the Host asked for until a task has used it', async () => {
    const [older, newer] = [await publish(1, [base]), await publish(2, [base, layerOf({ change: createId() })])]
    const all = images()
    await wait(all, newer).result
    const prefetches = createPrefetches(all, closing.signal)
    const request = () => prefetches.request(orderOf(older), { waitMs: 60_000, signal: new AbortController().signal })
    expect(await request()).toMatchObject({ state: 'ready' })
    expect(await request()).toMatchObject({ state: 'ready' })
    await all.sweep()
    expect(state.listImages().map(({ version }) => version)).toEqual([2, 1])
    await wait(all, older).result
    await all.sweep()
    expect(state.listImages().map(({ version }) => version)).toEqual([2])
  })
})
