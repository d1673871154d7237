import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { isHakuError } from '#core/errors.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore, TarballWriter } from '#core/tarballs/store.ts'
import { digestOf, patterned } from '#test/support/bytes.ts'

/** One storage, made for one test. */
export interface StorageUnderTest {
  /** A store on it, as another process with this owner would open it. */
  open(ownerId: string): TarballStore
  /** Everything that lies there, by its true name. */
  names(): Promise<string[]>
  /** Puts or replaces a value behind the store's back. */
  plant(name: string, content: string | Buffer): Promise<void>
  /** Removes one behind its back. */
  unplant(name: string): Promise<void>
  /** Makes the whole storage go away, as an unmount does. */
  takeAway(): Promise<void>
  /** Ends the test. Resolves to what lies there still. */
  close(): Promise<string[]>
}

/** What every {@link TarballStore} must do. A test that leaves anything behind that it did not publish or plant fails. */
export function tarballStoreSuite(name: string, setup: () => Promise<StorageUnderTest>): void {
  describe(`tarball store: ${name}`, () => {
    let storage: StorageUnderTest
    let store: TarballStore
    const expected = new Set<string>()

    beforeEach(async () => {
      expected.clear()
      storage = await setup()
      store = storage.open('me')
    })
    afterEach(async () => {
      const left = await storage.close()
      expect(left.filter((key) => !expected.has(key))).toEqual([])
    })

    async function plant(key: string, content: string | Buffer = 'x'): Promise<void> {
      expected.add(key)
      await storage.plant(key, content)
    }
    async function write(environment: string, version: number, content: Buffer, from = store): Promise<TarballWriter> {
      const writer = await from.createWriter(environment, version)
      await writer.write(content)
      await writer.finish()
      return writer
    }
    async function publish(environment: string, version: number, content: Buffer = Buffer.from(`${environment} ${version}`), from = store): Promise<VersionManifest> {
      const writer = await write(environment, version, content, from)
      const manifest = manifestOf(environment, version, content)
      await writer.publish(manifest)
      expected.add(`${environment}-${version}.tar`).add(`${environment}-${version}.json`)
      return manifest
    }
    const listed = async (from = store) => (await from.list()).map(({ fileName }) => fileName)

    describe('writing', () => {
      it('gives back what was written, by range too', async () => {
        const content = patterned(3_000_000)
        const manifest = await publish('env', 5, content)
        expect(await store.list()).toEqual([{ environment: 'env', version: 5, fileName: 'env-5.tar', size: 3_000_000 }])
        expect(await store.readManifest('env', 5)).toEqual(manifest)
        expect((await buffer(await store.read('env', 5))).equals(content)).toBe(true)
        const range = await buffer(await store.read('env', 5, { start: 1_234_567, end: 2_345_678 }))
        expect(range.equals(content.subarray(1_234_567, 2_345_678))).toBe(true)
        expect(await buffer(await store.read('env', 5, { start: 7, end: 7 }))).toHaveLength(0)
      })

      it('takes overlapping writes in their order', async () => {
        const content = patterned(2_000_000)
        const writer = await store.createWriter('env', 5)
        await Promise.all([writer.write(content.subarray(0, 900_000)), writer.write(content.subarray(900_000, 900_001)), writer.write(content.subarray(900_001))])
        expect(writer.position).toBe(2_000_000)
        await writer.finish()
        await writer.publish(manifestOf('env', 5, content))
        expected.add('env-5.tar').add('env-5.json')
        expect((await buffer(await store.read('env', 5))).equals(content)).toBe(true)
      })

      it('shows nothing before it is published, and nothing of what was given up', async () => {
        const writer = await write('env', 5, Buffer.from('half'))
        expect(await store.list()).toEqual([])
        expect(await store.find('env', 5)).toBeUndefined()
        await writer.abort()
        await writer.abort()
        expect(await storage.names()).toEqual([])
      })

      it('never replaces a version', async () => {
        const first = await write('env', 5, Buffer.from('mine'))
        await publish('env', 5, Buffer.from('other'), storage.open('other'))
        await expect(first.publish(manifestOf('env', 5, Buffer.from('mine')))).rejects.toMatchObject({ code: 'environment.busy' })
        await first.abort()
        await expect(store.createWriter('env', 5)).rejects.toMatchObject({ code: 'environment.busy' })
        expect(String(await buffer(await store.read('env', 5)))).toBe('other')
        expect((await store.readManifest('env', 5))?.size).toBe(5)
      })

      it('lets exactly one of two win that publish one version at once', async () => {
        const writers = await Promise.all(['one', 'two', 'three'].map((owner) => write('env', 5, Buffer.from(owner), storage.open(owner))))
        const results = await Promise.allSettled(writers.map((writer, index) => writer.publish(manifestOf('env', 5, Buffer.from(['one', 'two', 'three'][index] ?? '')))))
        expected.add('env-5.tar').add('env-5.json')
        await Promise.all(writers.map((writer) => writer.abort()))
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
        const winner = await buffer(await store.read('env', 5))
        expect((await store.readManifest('env', 5))?.configDigest).toBe(digestOf(winner))
      })

      it('refuses a manifest that describes something else, and shows nothing', async () => {
        const writer = await write('env', 5, Buffer.from('content'))
        await expect(writer.publish(manifestOf('env', 5, Buffer.from('longer content')))).rejects.toMatchObject({ code: 'internal.error' })
        await expect(writer.publish(manifestOf('env', 6, Buffer.from('content')))).rejects.toMatchObject({ code: 'internal.error' })
        await writer.abort()
        expect(await storage.names()).toEqual([])
      })

      it('replaces a manifest whose tarball somebody removed by hand', async () => {
        await publish('env', 5, Buffer.from('before'))
        await storage.unplant('env-5.tar')
        expect(await store.list()).toEqual([])
        const manifest = await publish('env', 5, Buffer.from('after it'))
        expect(await store.readManifest('env', 5)).toEqual(manifest)
      })
    })

    describe('a stamp', () => {
      const stamped = () => vi.waitFor(async () => {
        const stamp = await store.stamp('env', 5)
        expect(stamp).toBeDefined()
        return stamp
      }, { timeout: 5000 })

      it('is another one at once when this store has changed something', async () => {
        await publish('env', 5)
        const before = await stamped()
        await publish('env', 6)
        expect(await store.stamp('env', 5)).not.toBe(before)
        const between = await stamped()
        await store.remove('env', 6)
        for (const file of ['env-6.tar', 'env-6.json']) expected.delete(file)
        expect(await store.stamp('env', 5)).not.toBe(between)
      })

      it.each<[string, () => Promise<unknown>]>([
        ['a version comes', () => plant('other-7.tar')],
        ['a version goes', () => storage.unplant('env-6.tar')],
        ['the tarball is another one', () => plant('env-5.tar', 'longer than before')],
        ['the manifest is another one', () => plant('env-5.json', '{}')],
      ])('is another one within a second when %s behind the back', async (_, change) => {
        await publish('env', 5)
        await plant('env-6.tar')
        const before = await stamped()
        await change()
        await expect.poll(() => store.stamp('env', 5), { timeout: 1500 }).not.toBe(before)
      })
    })

    describe('writing on from another tarball', () => {
      const content = patterned(START_PART + 1_000_000)
      const more = Buffer.from('and more')

      it.each([
        ['nothing', 0],
        ['one byte', 1],
        ['a little', 700_000],
        ['one byte less than what S3 copies itself', START_PART - 1],
        ['what S3 copies itself', START_PART],
        ['much', START_PART + 1],
        ['the whole', START_PART + 1_000_000],
      ])('begins with a copy: %s', async (_, length) => {
        await publish('env', 5, content)
        const writer = await store.createWriter('other', 6, { environment: 'env', version: 5, length })
        expect(writer.position).toBe(length)
        await writer.write(more)
        await writer.finish()
        const whole = Buffer.concat([content.subarray(0, length), more])
        await writer.publish(manifestOf('other', 6, whole))
        expected.add('other-6.tar').add('other-6.json')
        expect((await buffer(await store.read('other', 6))).equals(whole)).toBe(true)
        expect((await buffer(await store.read('env', 5))).equals(content)).toBe(true)
      })

      it('may add nothing to it', async () => {
        await publish('env', 5, content)
        const writer = await store.createWriter('env', 6, { environment: 'env', version: 5, length: content.length })
        await writer.finish()
        await writer.publish(manifestOf('env', 6, content))
        expected.add('env-6.tar').add('env-6.json')
        expect((await buffer(await store.read('env', 6))).equals(content)).toBe(true)
      })

      it('shows nothing of what was given up', async () => {
        await publish('env', 5, content)
        const writer = await store.createWriter('env', 6, { environment: 'env', version: 5, length: content.length })
        await writer.write(more)
        await writer.abort()
        expect(await listed()).toEqual(['env-5.tar'])
      })

      it('is refused where the other is shorter, or not there', async () => {
        await publish('env', 5, Buffer.from('short'))
        const tooLong = store.createWriter('env', 6, { environment: 'env', version: 5, length: 6 })
        await expect(tooLong).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(/env-5\.tar.*6.*5/) })
        await expect(store.createWriter('env', 6, { environment: 'env', version: 4, length: 5 })).rejects.toMatchObject({ code: 'tarball.not_found' })
        expect(await listed()).toEqual(['env-5.tar'])
      })
    })

    describe('names', () => {
      it('are exact: one environment is never another', async () => {
        for (const [environment, version] of [['my-env', 5], ['my-env', 7], ['my-env-gpu', 6], ['my-env-6', 8], ['my', 1]] as const) await publish(environment, version)
        expect((await store.listVersions('my-env')).map(({ version }) => version)).toEqual([7, 5])
        expect((await store.listVersions('my-env-6')).map(({ version }) => version)).toEqual([8])
        expect(await store.find('my-env', 6)).toBeUndefined()
        await store.remove('my-env', 7)
        await store.remove('my-env', 5)
        expect(await listed()).toEqual(['my-1.tar', 'my-env-6-8.tar', 'my-env-gpu-6.tar'])
      })

      it('that are not ours are neither shown nor touched', async () => {
        const foreign = ['.nfs0000000004', '.tmp-other-01j00000000000000000000000-env-4.tar', 'env.tar', 'Env-5.tar', 'env-5.TAR', 'env-5.tar.gz', 'env-05.tar', 'env-5.tar~', '-5.tar', 'e-5.tar', 'readme.txt', 'lost.json']
        for (const key of foreign) await plant(key)
        await publish('env', 6)
        expect(await listed()).toEqual(['env-6.tar'])
        expect(await store.sweep()).toEqual([])
        await store.remove('env', 5)
        expect(await storage.names()).toEqual(expect.arrayContaining(foreign))
      })

      it('are checked before the storage is asked', async () => {
        for (const bad of ['Env', '../env', 'a', 'a/b', 'x y', '']) {
          await expect(store.find(bad, 5)).rejects.toMatchObject({ code: 'environment.name_invalid' })
          await expect(store.listVersions(bad)).rejects.toMatchObject({ code: 'environment.name_invalid' })
          await expect(store.createWriter(bad, 5)).rejects.toMatchObject({ code: 'environment.name_invalid' })
          await expect(store.remove(bad, 5)).rejects.toMatchObject({ code: 'environment.name_invalid' })
        }
      })
    })

    describe('manifests', () => {
      it('may be missing: a tarball made by other tools', async () => {
        await plant('env-5.tar', 'foreign')
        expect(await listed()).toEqual(['env-5.tar'])
        expect(await store.find('env', 5)).toMatchObject({ size: 7 })
        expect(await store.readManifest('env', 5)).toBeUndefined()
      })

      it('of a tarball that is not there are no version', async () => {
        await publish('env', 5)
        await storage.unplant('env-5.tar')
        expect(await store.list()).toEqual([])
        await expect(store.readManifest('env', 5)).rejects.toMatchObject({ code: 'tarball.not_found', message: expect.stringContaining('env-5.tar') })
        await expect(store.read('env', 5)).rejects.toMatchObject({ code: 'tarball.not_found', message: expect.stringContaining('env-5.tar') })
      })

      it('tell of a tarball that was cut, with what was expected and found', async () => {
        await publish('env', 5, Buffer.alloc(1000))
        await storage.plant('env-5.tar', Buffer.alloc(400))
        await expect(store.readManifest('env', 5)).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(/env-5\.tar has 400 bytes.*1000/) })
        await expect(buffer(await store.read('env', 5, { start: 0, end: 1000 }))).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(/env-5\.tar.*1000.*400/) })
      })

      const good = manifestOf('env', 5, Buffer.alloc(9))
      it.each<[string, string]>([
        ['no JSON', '{"formatVersion": 2'],
        ['an empty file', ''],
        ['another format', JSON.stringify({ ...good, formatVersion: 1 })],
        ['an unknown field', JSON.stringify({ ...good, surprise: true })],
        ['that of another version', JSON.stringify({ ...good, version: 6 })],
        ['layers behind the end', JSON.stringify({ ...good, layers: [{ diffId: good.configDigest, digest: good.configDigest, offset: 5, size: 5 }] })],
        ['endless', `"${'x'.repeat(2_000_000)}"`],
      ])('that are damaged are told: %s', async (_, json) => {
        await plant('env-5.tar', Buffer.alloc(9))
        await plant('env-5.json', json)
        await expect(store.readManifest('env', 5)).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringContaining('env-5.tar') })
      })
    })

    describe('removing', () => {
      it('takes tarball and manifest, and does nothing the second time', async () => {
        await publish('env', 5)
        await store.remove('env', 5)
        await store.remove('env', 5)
        expect(await storage.names()).toEqual([])
      })
    })

    describe('after a crash', () => {
      it('takes away what its owner left, never what another is writing', async () => {
        const dead = storage.open('dead')
        await dead.createWriter('env', 5)
        const alive = await storage.open('alive').createWriter('env', 6)
        const [litter] = (await storage.names()).filter((key) => key.includes('dead'))
        expect(await storage.open('dead').sweep()).toEqual([litter])
        expect(await storage.open('dead').sweep()).toEqual([])
        await alive.write(Buffer.from('alive'))
        await alive.finish()
        await alive.publish(manifestOf('env', 6, Buffer.from('alive')))
        expected.add('env-6.tar').add('env-6.json')
        expect(await listed()).toEqual(['env-6.tar'])
      })

      it('does not take away what this very process is writing', async () => {
        const writer = await write('env', 5, Buffer.from('live'))
        expect(await store.sweep()).toEqual([])
        await writer.publish(manifestOf('env', 5, Buffer.from('live')))
        expected.add('env-5.tar').add('env-5.json')
      })

      it('between the two names shows nothing, and takes the tarball back', async () => {
        await publish('env', 4)
        await storage.plant('env-5.tar', 'whole')
        await storage.plant(`.tmp-dead-01j00000000000000000000000-env-5.json`, JSON.stringify(manifestOf('env', 5, Buffer.from('whole'))))
        expect(await listed()).toEqual(['env-4.tar'])
        expect(await store.find('env', 5)).toBeUndefined()
        await expect(store.readManifest('env', 5)).rejects.toMatchObject({ code: 'tarball.not_found' })
        expect(await storage.open('other').sweep()).toEqual([])
        expect(await storage.open('dead').sweep()).toEqual(['env-5.tar', '.tmp-dead-01j00000000000000000000000-env-5.json'])
        expect(await listed()).toEqual(['env-4.tar'])
      })

      it('keeps a version that another Host published meanwhile', async () => {
        await publish('env', 5)
        await storage.plant('.tmp-dead-01j00000000000000000000000-env-5.json', '{}')
        expect(await storage.open('dead').sweep()).toEqual(['.tmp-dead-01j00000000000000000000000-env-5.json'])
        expect(await listed()).toEqual(['env-5.tar'])
      })
    })

    describe('without its storage', () => {
      it('says so with every method, and never "nothing there"', async () => {
        await storage.takeAway()
        const calls: [string, () => Promise<unknown>][] = [
          ['list', () => store.list()],
          ['listVersions', () => store.listVersions('env')],
          ['find', () => store.find('env', 5)],
          ['readManifest', () => store.readManifest('env', 5)],
          ['read', () => store.read('env', 5)],
          ['createWriter', () => store.createWriter('env', 5)],
          ['remove', () => store.remove('env', 5)],
          ['sweep', () => store.sweep()],
          ['freeSpace', () => store.freeSpace()],
        ]
        const answers = await Promise.all(calls.map(async ([method, call]) => [method, await call().catch((error: unknown) => (isHakuError(error) ? error.code : error))]))
        expect(answers).toEqual(calls.map(([method]) => [method, 'storage.unavailable']))
      })

      it('does not publish', async () => {
        const writer = await write('env', 5, Buffer.from('content'))
        await storage.takeAway()
        await expect(writer.publish(manifestOf('env', 5, Buffer.from('content')))).rejects.toMatchObject({ code: 'storage.unavailable' })
        await writer.abort()
      })
    })

    it('tells the free space, or that it can not', async () => {
      const free = await store.freeSpace()
      expect(free === undefined || free > 0).toBe(true)
    })
  })
}

/** A manifest that fits `content`. Its `configDigest` is that of the content. */
export function manifestOf(environment: string, version: number, content: Buffer): VersionManifest {
  return {
    formatVersion: 2,
    environment,
    version,
    baseImage: 'busybox:latest',
    created: new Date(version * 1000).toISOString(),
    author: 'me',
    note: '',
    configDigest: digestOf(content),
    manifestDigest: `sha256:${'d'.repeat(64)}`,
    size: content.length,
    newBytes: content.length,
    architecture: 'amd64',
    os: 'linux',
    config: '{}',
    layers: [],
    baseLayers: 0,
  }
}

// --- internal ---

/** The least that S3 copies from one object into another. */
const START_PART = 5 * 1024 * 1024
