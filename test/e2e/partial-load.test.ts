import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDockerEngine } from '#core/engine/docker.ts'
import type { Engine } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { labels } from '#core/paths.ts'
import { chainIds } from '#core/tarballs/chains.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { openRunnerState } from '#runner/state/state.ts'
import { createImages } from '#runner/sync/images.ts'
import { createInventory, type Inventory } from '#runner/sync/inventory.ts'
import { startTestEngine, type TestEngine, whyNoEngines } from '#test/engines/engine.ts'
import type { Release } from '#test/engines/releases.ts'
import { watchStore } from '#test/runner/support/watched-store.ts'
import { createBaseLayer, importBase, orderOf } from '#test/support/base-layer.ts'
import { layerOf, publishVersion } from '#test/support/versions.ts'

const missing = whyNoEngines()
if (missing) console.log(`partial loading on Engines of several releases is skipped: ${missing}`)

const RELEASES = ['installed', '26', '28', '28-containerd'] as const satisfies Release[]

describe.skipIf(missing).for<Release>([...RELEASES])('on the Engine %s', (release) => {
  let directory: string
  let server: TestEngine | undefined
  let absent: string | undefined
  let engine: Engine
  let base: Buffer

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-partial-'))
    mkdirSync(join(directory, 'tarballs'))
    base = await createBaseLayer(createId())
    try {
      server = await startTestEngine(release)
    } catch (error) {
      if (release === 'installed') throw error
      absent = String(error)
      console.log(`Engine ${release} can not be had here: ${absent}`)
      return
    }
    engine = createDockerEngine({ socketPath: server.socketPath })
  }, 300_000)
  afterAll(async () => {
    await server?.stop()
    rmSync(directory, { recursive: true })
  }, 120_000)

  /** A node of its own, with what it reads. */
  async function createNode(change: (inventory: Inventory) => Inventory = (inventory) => inventory) {
    const published = createFileSystemStore({ directory: join(directory, 'tarballs'), ownerId: 'host' })
    const store = watchStore(published)
    const state = await openRunnerState(join(directory, `${createId()}.db`))
    const inventory = change(createInventory({ engine, state }))
    const closing = new AbortController()
    const images = createImages({ engine, state, inventory, tarballs: store, neighbours: undefined, limitBytes: undefined, closing: closing.signal })
    return {
      store, state, inventory,
      publish: (environment: string, version: number, layers: Buffer[]) => publishVersion(published, { environment, version, layers }),
      load: (manifest: VersionManifest, signal = closing.signal) => images.ensure(orderOf(manifest), { signal, onProgress: () => undefined, onTrouble: () => undefined }),
      async close() {
        closing.abort()
        await state.close()
      },
    }
  }

  async function run(image: string, command: string[]): Promise<number> {
    const id = await engine.createContainer({ name: `proof-${createId()}`, image, command, env: {}, labels: {}, mounts: [], network: 'host', logs: 'none' })
    await engine.startContainer(id)
    const code = await engine.waitContainer(id)
    await engine.removeContainer(id)
    return code
  }

  it('a version is read but for what is there', { timeout: 60_000 }, async ({ skip }) => {
    if (absent) return skip(absent)
    const node = await createNode()
    const [one, two] = [layerOf({ one: createId() }), layerOf({ two: createId() })]
    await node.load(await node.publish('first', 1, [base, one]))
    expect(node.store.bytesRead).toBe(base.length + one.length)
    node.store.bytesRead = 0
    const newer = await node.publish('first', 2, [base, one, two])
    const image = await node.load(newer)
    expect(node.store.bytesRead).toBe(two.length)
    expect([newer.configDigest, newer.manifestDigest]).toContain(image)
    expect(await run(image, ['test', '-s', '/one', '-a', '-s', '/two'])).toBe(0)
    // Through another environment, and after the one it came with is gone.
    node.store.bytesRead = 0
    const other = await node.publish('second', 1, [base, layerOf({ three: createId() })])
    const second = await node.load(other)
    expect(node.store.bytesRead).toBe(other.layers[1]?.size)
    await expect.poll(async () => (await engine.listImages()).filter((each) => each.labels[labels.environment] === 'first').length).toBe(1)
    await engine.removeImage(image)
    expect(await run(second, ['test', '-s', '/three'])).toBe(0)
    expect((await node.inventory.holdings()).images).toEqual([{ environment: 'second', version: 1 }])
    await node.close()
  })

  it('a base image that is there counts where its layers are kept as they are', { timeout: 60_000 }, async ({ skip }) => {
    if (absent) return skip(absent)
    const node = await createNode()
    const own = await createBaseLayer(createId())
    await importBase(server?.socketPath ?? '', own, 'some-base:latest')
    const change = layerOf({ change: createId() })
    const image = await node.load(await node.publish('on-base', 1, [own, change]))
    const { usesContainerdStore } = await engine.info()
    expect(node.store.bytesRead).toBe(usesContainerdStore ? own.length + change.length : change.length)
    expect(await run(image, ['test', '-s', '/change'])).toBe(0)
    await node.close()
  })

  it('all of it is read when a layer that should be there is not', { timeout: 60_000 }, async ({ skip }) => {
    if (absent) return skip(absent)
    const [own, change] = [await createBaseLayer(createId()), layerOf({ change: createId() })]
    const node = await createNode((inventory) => ({ ...inventory, layers: async () => new Set(chainIds((await node.publish('lied', 1, [own, change])).layers.map(({ digest }) => digest)).slice(0, 1)) }))
    const manifest = await node.publish('lied', 2, [own, change])
    const image = await node.load(manifest)
    expect(node.store.bytesRead).toBe(change.length + own.length + change.length)
    expect(await run(image, ['test', '-s', '/change'])).toBe(0)
    await node.close()
  })

  it('a load that is stopped leaves nothing, and the next one works', { timeout: 60_000 }, async ({ skip }) => {
    if (absent) return skip(absent)
    const node = await createNode()
    const manifest = await node.publish('stopped', 1, [base, layerOf({ change: Buffer.alloc(5_000_000, createId()) })])
    let goOn: () => void = () => undefined
    const until = new Promise<void>((resolve) => (goOn = resolve))
    const stopping = new AbortController()
    const reached = new Promise<void>((resolve) => {
      node.store.knobs.holdAt = { bytes: 3_000_000, reached: resolve, until }
    })
    const loading = node.load(manifest, stopping.signal)
    await reached
    stopping.abort(new Error('killed'))
    await expect(loading).rejects.toThrow('killed')
    node.store.knobs.holdAt = undefined
    goOn()
    expect((await engine.listImages()).filter((image) => image.labels[labels.environment] === 'stopped')).toEqual([])
    expect(await run(await node.load(manifest), ['test', '-s', '/change'])).toBe(0)
    await node.close()
  })
})
