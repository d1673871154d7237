import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
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

/** Changes one byte of the topmost layer. */
async function tear({ environment, version, layers }: VersionManifest): Promise<void> {
  const handle = await open(join(host.paths.tarballs, `${environment}-${version}.tar`), 'r+')
  await handle.write(Buffer.from('!'), 0, 1, (layers.at(-1)?.offset ?? 0) + 512)
  await handle.close()
}

/** The Host's own reading waits until this is called. */
function holdReading(): () => void {
  const { read } = host.tarballs
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  host.tarballs.read = async (...args) => {
    await released
    return read(...args)
  }
  return release
}

describe('a version that a node says is damaged', () => {
  const damage = 'my-env-20.tar is damaged: for a layer its manifest says sha256:a, found sha256:b.'
  const refusal = (message: RegExp) => expect.objectContaining({ code: 'tarball.damaged', message: expect.stringMatching(message) })
  const suspect = (node = 'a', version = 20) => host.verifications.suspect({ environment: 'my-env', version, damage, node })
  const verdict = () => once(host.verifications.events, 'verdict')

  /** One task on node `a` that finds damage, one that waits for the same version, one for another. */
  async function submitThree(): Promise<string[]> {
    await host.register('a')
    const finder = await host.submit('my-env')
    const { tasks: [waiting] } = await host.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', cores: 4 }))
    const { tasks: [other] } = await host.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', version: 10, cores: 4 }))
    await host.node.ordered(finder.id)
    return [finder.id, waiting?.id ?? '', other?.id ?? '']
  }
  const reportDamage = (id: string) => host.tasks.report('a', 'a', [host.node.report(id, { state: 'failed', reason: 'sync_failed', message: damage, damage })])

  it('is held back at once, and given to nobody any more if the Host finds so too', async () => {
    await tear(current)
    const release = holdReading()
    const [finder = '', waiting = '', other = ''] = await submitThree()
    await reportDamage(finder)
    await host.node.ordered(other)
    expect(await host.tasks.get(waiting)).toMatchObject({ state: 'queued', message: expect.stringContaining('Waits for the Host to read its version: the node a says') })
    await expect(host.submit('my-env', 20)).rejects.toThrow(refusal(/^my-env-20\.tar is damaged.*So says the node a; the Host reads it itself now/))
    expect((await host.versions.get('my-env')).latest).toMatchObject({ version: 20, damage, current: false })
    const settled = verdict()
    release()
    await settled
    const found = expect.stringMatching(new RegExp(`^my-env-20\\.tar is damaged: for a layer its manifest says ${current.layers.at(-1)?.digest}`))
    expect(await host.tasks.get(waiting, 30)).toMatchObject({ state: 'failed', reason: 'sync_failed', message: found })
    expect(host.marks.get('my-env', 20)).toMatchObject({ damage: found, suspectedBy: null })
    // Told again, it stays as it was.
    await suspect('b')
    expect(host.marks.get('my-env', 20)).toMatchObject({ damage: found, suspectedBy: null })
  })

  it('is given to everybody again if the Host reads it well, and the node is named', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const release = holdReading()
    const [finder = '', waiting = ''] = await submitThree()
    await reportDamage(finder)
    const settled = verdict()
    release()
    await settled
    await host.register('b')
    await host.node.ordered(waiting)
    expect(host.marks.get('my-env', 20)).toMatchObject({ damage: null, suspectedBy: null })
    expect((await host.submit('my-env')).version).toBe(20)
    expect(said.mock.calls.flat()).toContainEqual(expect.stringMatching(/a says: my-env-20\.tar is damaged.* The Host reads my-env-20\.tar well: check the mount, memory or disk of a$/))
    // Once was enough, for this node.
    await suspect('a')
    expect(host.marks.get('my-env', 20).damage).toBeNull()
    const second = verdict()
    await suspect('b')
    expect(host.marks.get('my-env', 20).suspectedBy).toBe('b')
    await second
    said.mockRestore()
  })

  it('is read once, whoever says so, and again after the Host was stopped in the middle', async () => {
    let reads = 0
    const { read } = host.tarballs
    host.tarballs.read = (...args) => {
      reads += 1
      return read(...args)
    }
    const settled = verdict()
    await Promise.all([suspect('a'), suspect('b')])
    await settled
    expect(reads).toBe(current.layers.length)
    await host.marks.set('my-env', 10, { damage, suspectedBy: 'a' })
    await host.close()
    host = await createHostServices(directory)
    expect(host.marks.suspects()).toEqual([{ environment: 'my-env', version: 10 }])
    const again = verdict()
    host.verifications.recover()
    await again
    expect(host.marks.get('my-env', 10)).toMatchObject({ damage: null, suspectedBy: null })
  })

  it('and that is removed meanwhile is forgotten', async () => {
    const release = holdReading()
    await suspect()
    await host.versions.remove('my-env', 20)
    release()
    await host.verifications.close()
    expect([host.marks.suspects(), host.marks.get('my-env', 20).damage]).toEqual([[], null])
  })

  it('and that other tools made stays held back while it can be read, for only an Engine knows', async () => {
    writeFileSync(join(host.paths.tarballs, 'my-env-30.tar'), layerOf({ 'manifest.json': '[]' }))
    const settled = verdict()
    await suspect('a', 30)
    await settled
    expect(host.marks.get('my-env', 30)).toMatchObject({ damage, suspectedBy: null })
  })

  it('is the reason where no other can be used', async () => {
    await host.marks.set('my-env', 20, { damage })
    expect((await host.submit('my-env')).version).toBe(10)
    await host.marks.set('my-env', 10, { damage: 'the older one too' })
    await expect(host.submit('my-env')).rejects.toThrow(refusal(new RegExp(damage)))
  })

  it('is not told by a node that was never given it', async () => {
    await host.register('a')
    await host.register('b')
    const task = await host.submit('my-env')
    await host.node.ordered(task.id)
    const stranger = (await host.tasks.get(task.id)).node === 'a' ? 'b' : 'a'
    expect(await host.tasks.report(stranger, stranger, [host.node.report(task.id, { state: 'failed', damage })])).toMatchObject({ unknown: [{ id: task.id, instance: 1 }] })
    expect(host.marks.get('my-env', 20).damage).toBeNull()
  })
})

describe('verifying', () => {
  const verify = async (version = 20) => host.operations.get((await host.verifications.start('my-env', version)).id, 30)

  it('marks a version that is damaged, and lifts the mark once it is whole again', async () => {
    expect(await verify()).toMatchObject({ kind: 'verify_version', state: 'succeeded', result: { version: 20, damage: null }, progress: { phase: 'verify', bytes: sizeOf(current), totalBytes: sizeOf(current) } })
    const file = join(host.paths.tarballs, 'my-env-20.tar')
    copyFileSync(file, join(directory, 'backup'))
    await tear(current)
    const found = expect.stringMatching(/^my-env-20\.tar is damaged: for a layer/)
    expect(await verify()).toMatchObject({ state: 'failed', error: { code: 'tarball.damaged', detail: found } })
    expect(await host.versions.describe('my-env', 20)).toMatchObject({ damage: found, current: false })
    await expect(host.submit('my-env', 20)).rejects.toMatchObject({ code: 'tarball.damaged' })
    copyFileSync(join(directory, 'backup'), file)
    expect(await verify()).toMatchObject({ state: 'succeeded', result: { damage: null, current: true } })
    expect((await host.submit('my-env')).version).toBe(20)
  })

  it('looks at manifest, length and what other tools made too', async () => {
    truncateSync(join(host.paths.tarballs, 'my-env-20.tar'), 5000)
    expect(await verify()).toMatchObject({ state: 'failed', error: { code: 'tarball.damaged', detail: expect.stringContaining('my-env-20.tar has 5000 bytes') } })
    const foreign = join(host.paths.tarballs, 'my-env-30.tar')
    writeFileSync(foreign, layerOf({ 'manifest.json': '[]' }).subarray(0, 600))
    expect(await verify(30)).toMatchObject({ state: 'failed', error: { code: 'tarball.damaged', detail: expect.stringContaining('my-env-30.tar is damaged: Not a tar archive that can be read: it was cut') } })
    writeFileSync(foreign, layerOf({ 'manifest.json': '[]' }))
    expect(await verify(30)).toMatchObject({ state: 'succeeded', result: { damage: null } })
    await expect(verify(15)).rejects.toMatchObject({ code: 'tarball.not_found' })
  })

  it('can be cancelled, and leaves the mark as it was', async () => {
    await host.marks.set('my-env', 20, { damage: 'torn' })
    const release = holdReading()
    const { id } = await host.verifications.start('my-env', 20)
    await host.operations.cancel(id)
    release()
    expect(await host.operations.get(id, 30)).toMatchObject({ state: 'cancelled' })
    expect(host.marks.get('my-env', 20).damage).toBe('torn')
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
    expect((await host.tasks.list({ level: 'all', limit: 10 })).items).toEqual([])
  })

  it('tells the place in the queue, behind all that wait', async () => {
    await host.register('a')
    await host.tasks.submit(submitBody.parse({ command: ['true'], environment: 'my-env', cores: 4 }))
    await host.submit('my-env')
    expect((await preview({ version: 10 })).tasks).toEqual([{ target: null, node: null, place: 2, message: 'Waits for 1 core.', syncBytes: null }])
    expect((await preview({ targets: ['a'] })).tasks).toMatchObject([{ node: 'a', place: 2, syncBytes: sizeOf(current) }])
  })

  it('refuses what a submission would', async () => {
    await host.register('a')
    await expect(preview({ targets: ['ghost'] })).rejects.toThrow(expect.objectContaining({ code: 'node.not_found' }))
    await expect(preview({ cores: 100 })).rejects.toThrow(expect.objectContaining({ code: 'node.too_small' }))
    await expect(preview({ environment: 'nothing' })).rejects.toThrow(expect.objectContaining({ code: 'environment.no_version' }))
    await host.marks.set('my-env', 20, { damage: 'damaged' })
    await expect(preview({ version: 20 })).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged' }))
  })
})

describe('a prefetch', () => {
  beforeEach(async () => {
    for (const hostname of ['a', 'b']) await host.register(hostname)
  })

  const prefetch = (body: Partial<PrefetchBody> = {}) => createPrefetch({ operations: host.operations, versions: host.versions, verifications: host.verifications, nodes: host.nodes, dispatcher: host.node.dispatcher }).start('my-env', prefetchBody.parse(body))
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
    await tear(current)
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
