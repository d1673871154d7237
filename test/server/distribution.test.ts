import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { prefetchBody, type PrefetchBody, type SubmitBody, submitBody } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { chainIds } from '#core/tarballs/chains.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { createPrefetch } from '#server/environments/prefetch.ts'
import { layerOf, publishVersion } from '#test/support/versions.ts'
import { createHostServices, type HostServices } from './support/host-services.ts'

let directory: string
let host: HostServices
let old: VersionManifest
let current: VersionManifest

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-distribution-'))
  host = await createHostServices(directory)
  old = await publishVersion(host.tarballs, { environment: 'my-env', version: 10, layers: [layerOf({ base: 'x'.repeat(10_000) })] })
  current = await publishVersion(host.tarballs, { environment: 'my-env', version: 20, layers: [layerOf({ change: 'y' })], onTopOf: old })
})
afterEach(async () => {
  await host.close()
  rmSync(directory, { recursive: true })
})

const beat = (hostname: string, holdings?: { images?: { environment: string; version: number }[]; layers?: string[] }) =>
  host.nodes.heartbeat(hostname, { instanceId: hostname, usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: [], ...(holdings && { holdings: { images: [], layers: [], ...holdings } }) })
const chain = (manifest: VersionManifest) => chainIds(manifest.layers.map(({ digest }) => digest))
const sizeOf = (manifest: VersionManifest) => manifest.layers.reduce((sum, { size }) => sum + size, 0)

describe('what nodes hold', () => {
  it('is asked for until it is told, and then kept', async () => {
    await host.register('a')
    expect(await beat('a')).toEqual({ wantsHoldings: true })
    expect(await beat('a', { images: [{ environment: 'my-env', version: 10 }] })).toEqual({ wantsHoldings: false })
    expect(await beat('a')).toEqual({ wantsHoldings: false })
    expect(host.tasks.toNode(host.nodes.get('a')).images).toEqual([{ environment: 'my-env', version: 10 }])
    await host.register('a')
    expect(host.tasks.toNode(host.nodes.get('a')).images).toEqual([])
  })
})

describe('a damaged version', () => {
  const damage = 'my-env-20.tar is damaged: for a layer its manifest says sha256:a, found sha256:b.'

  it('is given to nobody any more, not even to those who wait for it', async () => {
    await host.register('a')
    const finder = await host.submit('my-env')
    const { tasks: [waiting] } = await host.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', cores: 4 }))
    const { tasks: [other] } = await host.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', version: 10, cores: 4 }))
    await host.node.ordered(finder.id)
    await host.tasks.report('a', 'a', [host.node.report(finder.id, { state: 'failed', reason: 'sync_failed', message: damage, damage })])
    expect(await host.tasks.get(waiting?.id ?? '')).toMatchObject({ state: 'failed', reason: 'sync_failed', message: damage })
    await host.node.ordered(other?.id ?? '')
    await expect(host.submit('my-env', 20)).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged', message: expect.stringContaining(damage) }))
    expect((await host.versions.get('my-env')).latest).toMatchObject({ version: 20, damage, current: false })
    // Told again, it stays as it was.
    await host.versions.quarantine('my-env', 20, 'something else')
    expect(host.marks.get('my-env', 20).damage).toBe(damage)
  })

  it('is the reason where no other can be used', async () => {
    await host.versions.quarantine('my-env', 20, damage)
    expect((await host.submit('my-env')).version).toBe(10)
    await host.versions.quarantine('my-env', 10, 'the older one too')
    await expect(host.submit('my-env')).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged', message: expect.stringContaining(damage) }))
  })

  it('is not told by a node that was never given it', async () => {
    await host.register('a')
    await host.register('b')
    const task = await host.submit('my-env')
    const stranger = (await host.tasks.get(task.id)).node === 'a' ? 'b' : 'a'
    await host.node.ordered(task.id)
    expect(await host.tasks.report(stranger, stranger, [host.node.report(task.id, { state: 'failed', damage })])).toMatchObject({ unknown: [task.id] })
    expect(host.marks.get('my-env', 20).damage).toBeNull()
  })
})

describe('the progress of a load', () => {
  it('is shown while it lasts', async () => {
    await host.register('a')
    const { id } = await host.submit('my-env')
    await host.node.ordered(id)
    const sync = { bytes: 5, totalBytes: 10, bytesPerSecond: 5 }
    await host.tasks.report('a', 'a', [host.node.report(id, { state: 'syncing', sync })])
    expect(await host.tasks.get(id)).toMatchObject({ state: 'syncing', sync })
    await host.tasks.report('a', 'a', [host.node.report(id, { state: 'succeeded', sync: null })])
    expect(await host.tasks.get(id)).toMatchObject({ state: 'succeeded', sync: null })
  })
})

describe('a preview', () => {
  const preview = (body: Partial<SubmitBody> = {}) => host.tasks.preview(submitBody.parse({ command: ['true'], environment: 'my-env', ...body }))

  it('tells node, version and what has to be loaded, and stores nothing', async () => {
    await host.register('a')
    await host.register('b')
    await host.register('c')
    await beat('b', { layers: chain(old) })
    await beat('c', { images: [{ environment: 'my-env', version: 20 }] })
    expect(await preview({ targets: ['a', 'b', 'c'] })).toEqual({
      environment: 'my-env', version: 20, fileName: 'my-env-20.tar',
      tasks: [
        { target: 'a', node: 'a', place: 0, message: null, syncBytes: sizeOf(current) },
        { target: 'b', node: 'b', place: 0, message: null, syncBytes: sizeOf(current) - sizeOf(old) },
        { target: 'c', node: 'c', place: 0, message: null, syncBytes: 0 },
      ],
    })
    expect((await host.tasks.list({ limit: 10 })).items).toEqual([])
  })

  it('tells the place in the queue, behind all that wait', async () => {
    await host.register('a')
    await host.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', cores: 4 }))
    await host.submit('my-env')
    expect((await preview({ version: 10 })).tasks).toEqual([{ target: null, node: null, place: 2, message: 'Waits for 1 free core.', syncBytes: null }])
    expect((await preview({ targets: ['a'] })).tasks).toMatchObject([{ node: 'a', place: 2, syncBytes: sizeOf(current) }])
  })

  it('refuses what a submission would', async () => {
    await host.register('a')
    await expect(preview({ targets: ['ghost'] })).rejects.toThrow(expect.objectContaining({ code: 'node.not_found' }))
    await expect(preview({ cores: 100 })).rejects.toThrow(expect.objectContaining({ code: 'node.too_small' }))
    await expect(preview({ environment: 'nothing' })).rejects.toThrow(expect.objectContaining({ code: 'environment.no_version' }))
    await host.versions.quarantine('my-env', 20, 'damaged')
    await expect(preview({ version: 20 })).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged' }))
  })
})

describe('a prefetch', () => {
  beforeEach(async () => {
    for (const hostname of ['a', 'b']) await host.register(hostname)
  })

  const prefetch = (body: Partial<PrefetchBody> = {}) => createPrefetch({ operations: host.operations, versions: host.versions, nodes: host.nodes, dispatcher: host.node.dispatcher }).start('my-env', prefetchBody.parse(body))
  const end = async (body?: Partial<PrefetchBody>) => host.operations.get((await prefetch(body)).id, 30)

  it('asks each node until the version is there, and ends with the version', async () => {
    const asked: string[] = []
    host.node.prefetch = (name, order) => {
      asked.push(`${name} ${order.fileName} ${order.configDigest}`)
      return Promise.resolve({ state: asked.length < 4 ? 'loading' : 'ready', sync: { bytes: 1, totalBytes: 2, bytesPerSecond: 1 }, message: null })
    }
    expect(await end()).toMatchObject({ kind: 'prefetch_version', state: 'succeeded', result: { fileName: 'my-env-20.tar' }, progress: { phase: 'prefetch', message: '2 of 2 nodes ready', bytes: 4, totalBytes: 4 } })
    expect(new Set(asked)).toEqual(new Set([`a my-env-20.tar ${current.configDigest}`, `b my-env-20.tar ${current.configDigest}`]))
    expect(asked.length).toBeGreaterThan(3)
  })

  it('of one version on one node asks no other', async () => {
    const asked: string[] = []
    host.node.prefetch = (name, order) => {
      asked.push(`${name} ${order.version}`)
      return Promise.resolve({ state: 'ready', sync: null, message: null })
    }
    expect(await end({ nodes: ['b', 'b'], version: 10 })).toMatchObject({ state: 'succeeded', result: { version: 10 } })
    expect(asked).toEqual(['b 10'])
  })

  it('names the nodes that failed, after the others have it', async () => {
    host.node.prefetch = (name) => (name === 'a' ? Promise.reject(new HakuError('storage.full', 'The disk is full.')) : Promise.resolve({ state: 'ready', sync: null, message: null }))
    expect(await end()).toMatchObject({ state: 'failed', error: { code: 'storage.full', detail: 'my-env-20.tar could not be loaded on 1 of 2 nodes. a: The disk is full.' } })
    await expect(prefetch({ nodes: ['ghost'] })).rejects.toThrow(expect.objectContaining({ code: 'node.not_found' }))
  })

  it('that finds damage keeps everybody from the version', async () => {
    host.node.prefetch = () => Promise.reject(new HakuError('tarball.damaged', 'It is broken.'))
    expect(await end({ nodes: ['a'] })).toMatchObject({ state: 'failed', error: { code: 'tarball.damaged' } })
    await expect(host.submit('my-env', 20)).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged' }))
  })

  it('stops on all nodes when it is cancelled, and holds up no packaging meanwhile', async () => {
    let isAsked: () => void = () => undefined
    const asked = new Promise<void>((resolve) => (isAsked = resolve))
    host.node.prefetch = (_, __, signal) => {
      isAsked()
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error))
      })
    }
    const { id } = await prefetch()
    await asked
    await expect(host.operations.exclusively('my-env', () => Promise.resolve('packaged'))).resolves.toBe('packaged')
    await expect(host.versions.remove('my-env', 20)).rejects.toThrow(expect.objectContaining({ code: 'environment.busy' }))
    await host.operations.cancel(id)
    expect(await host.operations.get(id, 30)).toMatchObject({ state: 'cancelled' })
    expect(host.node.cancelledPrefetches.toSorted()).toEqual(['a', 'b'])
  })
})
