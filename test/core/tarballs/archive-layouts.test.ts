import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AssembleOptions, assembleTarball, layersEnd } from '#core/tarballs/assemble.ts'
import { spoolArchive, type SpoolArchiveOptions, type SpooledArchive } from '#core/tarballs/engine-archive.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { createSpool, type Spool, type SpooledLayer } from '#core/tarballs/spool.ts'
import type { TarballStore, TarballWriter } from '#core/tarballs/store.ts'
import { digestOf } from '#test/support/bytes.ts'
import { blobName, configOf, layerTar, legacyArchive, ociArchive, streamOf, tarOf } from './support/saved-archives.ts'
import { findConfig } from './support/saved-image.ts'

const image = { environment: 'env', version: 7, author: 'me', created: new Date(0).toISOString(), architecture: 'amd64', os: 'linux', env: ['A=1'], baseConfig: { Cmd: ['sh'] } }

describe('our archive, from every layout', () => {
  let directory: string
  let store: TarballStore
  let spool: Spool
  let layers: Buffer[]

  beforeAll(async () => {
    // The big one has more bytes than all blocks that are on their way at once.
    layers = [await layerTar('a', 'lowest'), await layerTar('b', randomBytes(6_000_001)), await layerTar('c', 'topmost')]
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-layouts-'))
    store = createFileSystemStore({ directory, ownerId: 'me' })
    spool = await createSpool(join(directory, 'spool'))
  })
  afterEach(async () => {
    await spool.close()
    const left = readdirSync(directory)
    rmSync(directory, { recursive: true })
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
  })

  const diffIds = () => layers.map(digestOf)
  const takeApart = (saved: Buffer, options: Partial<SpoolArchiveOptions> = {}) => spoolArchive({ source: streamOf(saved), spool, ...options })

  /** Spools the archive and writes ours, of the layers that its configuration names; `check` sees it before it is given up. */
  async function assemble(saved: Buffer, { check, onProgress, writer: given, ...options }: Partial<SpoolArchiveOptions & Pick<AssembleOptions, 'writer'>> & { check?: (bytes: Buffer, manifest: VersionManifest) => Promise<void> } = {}): Promise<VersionManifest> {
    const taken = await takeApart(saved, options)
    const writer = given ?? (await store.createWriter('env', 7))
    try {
      const manifest = await assembleTarball({ writer, reused: [], added: layersOf(taken), baseLayers: 1, baseImage: 'busybox', note: '', image, ...(onProgress && { onProgress }) })
      await writer.publish(manifest)
      await check?.(await buffer(await store.read('env', 7)), manifest)
      return manifest
    } finally {
      await writer.abort()
      await store.remove('env', 7)
    }
  }

  /** Everything that must hold of any archive of ours. Resolves to its files. */
  async function assembleWhole(saved: Buffer, { expected = layers, ...options }: Partial<SpoolArchiveOptions> & { expected?: Buffer[] } = {}): Promise<Map<string, Buffer>> {
    let files = new Map<string, Buffer>()
    await assemble(saved, {
      ...options,
      async check(bytes, { layers: found, size, newBytes, configDigest, manifestDigest }) {
        expect(bytes.length).toBe(size)
        expect(found.map(({ digest }) => digest)).toEqual(expected.map(digestOf))
        for (const { offset, size: length, diffId } of found) expect(digestOf(bytes.subarray(offset, offset + length))).toBe(diffId)
        expect(newBytes).toBe(expected.reduce((sum, { length }) => sum + length, 0))
        files = await unpack(bytes)
        const blobs = [...new Set([...expected.map(digestOf), configDigest, manifestDigest])].map((digest) => `blobs/sha256/${digest.slice(7)}`)
        expect([...files.keys()].sort()).toEqual([...blobs, 'index.json', 'manifest.json', 'oci-layout'].sort())
        for (const name of blobs) expect(blobName(files.get(name) ?? '')).toBe(name)
      },
    })
    return files
  }

  it.each<[string, () => Promise<Buffer>]>([
    ['Engine 20.10', () => legacyArchive(layers)],
    ['Engine 25 and later', () => ociArchive(layers)],
    ['containerd image store, gzip', () => ociArchive(layers, { gzip: true })],
    ['containerd image store, nested index with strangers', () => ociArchive(layers, { gzip: true, nested: true })],
    ['OCI layout without manifest.json', () => ociArchive(layers, { withManifest: false })],
    ['OCI layout without manifest.json, nested', () => ociArchive(layers, { withManifest: false, nested: true })],
  ])('%s', async (_, saved) => {
    const files = await assembleWhole(await saved())
    expect(JSON.parse(String(files.get('manifest.json')))).toEqual([{ Config: expect.stringMatching(/^blobs\/sha256\//), RepoTags: ['hakuriver/env:base'], Layers: diffIds().map((digest) => `blobs/sha256/${digest.slice(7)}`) }])
  })

  it('has the same digests, whichever Engine it came from and whatever was known beforehand', async () => {
    const results: Pick<VersionManifest, 'configDigest' | 'manifestDigest' | 'size'>[] = []
    for (const saved of [await legacyArchive(layers), await ociArchive(layers), await ociArchive(layers, { gzip: true })]) {
      for (const options of [{}, { expectedLayers: diffIds() }]) {
        const { configDigest, manifestDigest, size } = await assemble(saved, options)
        results.push({ configDigest, manifestDigest, size })
      }
    }
    expect(results).toEqual(results.map(() => results[0]))
  })

  it('tells the true digest of a layer when what was foretold is wrong', async () => {
    // The folders of this archive have no names that an Engine would give, so all but one guess fail.
    expect(await assembleWhole(await legacyArchive(layers), { expectedLayers: diffIds() })).toBeDefined()
  })

  it('holds a layer once that occurs twice', async () => {
    const [lowest = Buffer.alloc(0), big = Buffer.alloc(0)] = layers
    const twice = [lowest, big, lowest]
    for (const saved of [await legacyArchive(twice), await ociArchive(twice, { gzip: true })]) {
      let files = new Map<string, Buffer>()
      await assemble(saved, { check: async (bytes, manifest) => {
        expect(manifest.layers.map(({ digest }) => digest)).toEqual(twice.map(digestOf))
        expect(manifest.layers[2]).toEqual(manifest.layers[0])
        files = await unpack(bytes)
      } })
      expect([...files.values()].filter((content) => content.equals(lowest))).toHaveLength(1)
    }
  })

  it('takes names that need extended headers', async () => {
    const odd = [await layerTar(`${'long/'.repeat(60)}näme`, 'x')]
    const files = await assembleWhole(await ociArchive(odd), { expected: odd })
    expect(files.get(blobName(odd[0] ?? ''))).toEqual(odd[0])
  })

  it('keeps only the layers that are wanted, where their names tell', async () => {
    const foreign = await layerTar('foreign', randomBytes(700_000))
    const saved = await ociArchive(layers, { extra: [{ name: blobName(foreign), content: foreign }] })
    const [, big = ''] = diffIds()
    const known = await takeApart(saved, { expectedLayers: diffIds(), wanted: (diffId) => diffId === big })
    expect([...known.layers.keys()]).toEqual([big])
    // Without them nobody knows what is foreign.
    expect([...(await takeApart(saved)).layers.keys()].toSorted()).toEqual([...diffIds(), digestOf(foreign)].toSorted())
  })

  it('tells how far it is', async () => {
    const spooled: number[] = []
    const written: number[] = []
    await takeApart(await legacyArchive(layers), { onProgress: (bytes) => spooled.push(bytes) })
    const { size } = await assemble(await legacyArchive(layers), { onProgress: (bytes) => written.push(bytes) })
    for (const seen of [spooled, written]) expect(seen).toEqual([...seen].sort((left, right) => left - right))
    expect(spooled.at(-1)).toBe(layers.reduce((sum, { length }) => sum + length, 0))
    expect(written.at(-1)).toBe(size)
  })

  it('builds on the layers of another, which it begins with', async () => {
    const first = await store.createWriter('env', 6)
    const below = await assembleTarball({ writer: first, reused: [], added: layersOf(await takeApart(await ociArchive(layers.slice(0, 2)))), baseLayers: 1, baseImage: 'busybox', note: '', image: { ...image, version: 6 } })
    await first.publish(below)
    const writer = await store.createWriter('env', 7, { environment: 'env', version: 6, length: layersEnd(below.layers) })
    const top = layersOf(await takeApart(await ociArchive(layers.slice(2))))
    const manifest = await assembleTarball({ writer, reused: below.layers, added: top, baseLayers: 1, baseImage: 'busybox', note: '', image })
    await writer.publish(manifest)
    const bytes = await buffer(await store.read('env', 7))
    expect(manifest.layers.map(({ digest }) => digest)).toEqual(diffIds())
    for (const { offset, size, digest } of manifest.layers) expect(digestOf(bytes.subarray(offset, offset + size))).toBe(digest)
    expect(manifest.newBytes).toBe(layers[2]?.length)
    for (const version of [6, 7]) await store.remove('env', version)
  })

  describe('is refused, with the reason, when the Engine sends', () => {
    it.each<[string, () => Promise<Buffer>, RegExp]>([
      ['a configuration that was changed', async () => tarOf([{ name: `${'1'.repeat(64)}/layer.tar`, content: layers[0] ?? '' }, { name: `${'2'.repeat(64)}.json`, content: configOf(layers) }, { name: 'manifest.json', content: `[{"Config":"${'2'.repeat(64)}.json"}]` }]), /has the digest [0-9a-f]{64}/],
      ['no manifest', () => tarOf([{ name: 'oci-layout', content: '{}' }]), /index\.json is missing/],
      ['two images', () => tarOf([{ name: 'manifest.json', content: '[{"Config":"a"},{"Config":"b"}]' }]), /not one image/],
      ['half an archive', async () => (await legacyArchive(layers)).subarray(0, 3_000_000), /was cut/],
      ['no archive at all', async () => Buffer.from('<html>Bad gateway</html>'.repeat(100)), /Not a tar archive/],
      ['damaged gzip', async () => {
        const squeezed = gzipSync(layers[1] ?? '')
        squeezed.fill('x', 40_000, 41_000)
        return tarOf([{ name: blobName(squeezed), content: squeezed }])
      }, /can not be read/],
      ['cut gzip', async () => {
        const squeezed = gzipSync(layers[1] ?? '').subarray(0, 100_000)
        return tarOf([{ name: blobName(squeezed), content: squeezed }])
      }, /can not be read/],
    ])('%s', async (_, saved, reason) => {
      const read = async () => findConfig((await takeApart(await saved())).documents)
      await expect(read()).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(reason) })
    })

    it('a document without end', async () => {
      const huge = Buffer.alloc(20_000_000, ' ')
      huge[0] = 0x7b
      await expect(takeApart(await tarOf([{ name: blobName(huge), content: huge }]))).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringContaining('larger than any document') })
    })

    it('nothing more', async () => {
      const bytes = await legacyArchive(layers)
      const source = Readable.from((async function* () {
        yield bytes.subarray(0, 1_000_000)
        throw new Error('socket hang up')
      })(), { objectMode: false })
      await expect(takeApart(bytes, { source })).rejects.toThrow('socket hang up')
    })

    it.each(['too few layers', 'a layer that was changed'])('%s: the layer that the configuration names is not there', async (what) => {
      const changed = Buffer.from(layers[1] ?? '').fill('x', 2000, 2001)
      const saved = what === 'too few layers' ? await legacyArchive(layers.slice(0, 1), configOf(layers)) : await ociArchive([layers[0] ?? Buffer.alloc(0), changed], { config: configOf(layers.slice(0, 2)) })
      expect((await takeApart(saved)).layers.has(digestOf(layers[1] ?? ''))).toBe(false)
    })
  })

  it('tells what the storage says when it takes no more', async () => {
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' })
    const writer = await store.createWriter('env', 7)
    let calls = 0
    const failing: TarballWriter = { ...writer, get position() { return writer.position }, write: (chunk) => (++calls > 3 ? Promise.reject(full) : writer.write(chunk)) }
    await expect(assemble(await legacyArchive(layers), { writer: failing })).rejects.toBe(full)
  })

  it('stops in the middle when told to', async () => {
    const reason = new Error('cancelled')
    const spooling = new AbortController()
    await expect(takeApart(await legacyArchive(layers), { signal: spooling.signal, onProgress: () => spooling.abort(reason) })).rejects.toBe(reason)
    const writing = new AbortController()
    const added = layersOf(await takeApart(await legacyArchive(layers)))
    const writer = await store.createWriter('env', 7)
    await expect(assembleTarball({ writer, reused: [], added, baseLayers: 0, baseImage: '', note: '', image, signal: writing.signal, onProgress: () => writing.abort(reason) })).rejects.toBe(reason)
    await writer.abort()
  })
})

/** The layers that the configuration in the archive names. */
function layersOf({ documents, layers }: SpooledArchive): SpooledLayer[] {
  const { rootfs } = findConfig(documents) as { rootfs: { diff_ids: string[] } }
  return rootfs.diff_ids.map((diffId) => {
    const layer = layers.get(diffId)
    if (!layer) throw new Error(`without layer ${diffId}`)
    return layer
  })
}

async function unpack(bytes: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for await (const entry of Readable.from([bytes]).pipe(extract())) files.set(entry.header.name, await buffer(entry))
  return files
}
