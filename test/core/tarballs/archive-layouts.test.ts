import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { writeArchive, type WriteArchiveOptions, type WrittenArchive } from '#core/tarballs/archive.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TarballWriter } from '#core/tarballs/store.ts'
import { blobName, configOf, digestOf, layerTar, legacyArchive, ociArchive, streamOf, tarOf } from './support/saved-archives.ts'

const image = { environment: 'env', version: 7, repoTag: 'hakuriver/env:base', baseConfig: { Cmd: ['sh'] }, author: 'me', created: new Date(0).toISOString() }

describe('our archive, from every layout', () => {
  let directory: string
  let writer: TarballWriter
  let layers: Buffer[]
  /** Headers that were written a second time. */
  const patches: number[] = []

  beforeAll(async () => {
    // The big one has more bytes than all blocks that are on their way at once.
    layers = [await layerTar('a', 'lowest'), await layerTar('b', randomBytes(6_000_001)), await layerTar('c', 'topmost')]
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-layouts-'))
    patches.length = 0
    const real = await newWriter()
    writer = { ...real, get position() { return real.position }, patch: (position, chunk) => { patches.push(position); return real.patch(position, chunk) } }
  })
  afterEach(async () => {
    await writer.abort()
    const left = readdirSync(directory)
    rmSync(directory, { recursive: true })
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
  })

  const newWriter = () => createFileSystemStore({ directory, ownerId: 'me' }).createWriter('env', 7)
  const assemble = (saved: Buffer, options: Partial<WriteArchiveOptions> = {}) => writeArchive({ source: streamOf(saved), writer, image, ...options })
  const diffIds = () => layers.map(digestOf)

  /** Everything that must hold of any archive of ours. */
  async function expectWhole({ layers: found, size, sha256, configDigest, manifestDigest }: WrittenArchive, expected = layers): Promise<Map<string, Buffer>> {
    const bytes = await buffer(writer.readBack())
    expect({ size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }).toEqual({ size, sha256 })
    expect(found.map(({ digest }) => digest)).toEqual(expected.map(digestOf))
    for (const { offset, size: length, diffId } of found) expect(digestOf(bytes.subarray(offset, offset + length))).toBe(diffId)
    const files = await unpack(bytes)
    const blobs = [...new Set([...expected.map(digestOf), configDigest, manifestDigest])].map((digest) => `blobs/sha256/${digest.slice(7)}`)
    expect([...files.keys()].sort()).toEqual([...blobs, 'index.json', 'manifest.json', 'oci-layout'].sort())
    for (const name of blobs) expect(blobName(files.get(name) ?? '')).toBe(name)
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
    const files = await expectWhole(await assemble(await saved()))
    expect(JSON.parse(String(files.get('manifest.json')))).toEqual([{ Config: expect.stringMatching(/^blobs\/sha256\//), RepoTags: ['hakuriver/env:base'], Layers: diffIds().map((digest) => `blobs/sha256/${digest.slice(7)}`) }])
  })

  it('has the same digests, whichever Engine it came from and whatever was known beforehand', async () => {
    const results: Pick<WrittenArchive, 'configDigest' | 'manifestDigest' | 'size'>[] = []
    for (const saved of [await legacyArchive(layers), await ociArchive(layers), await ociArchive(layers, { gzip: true })]) {
      for (const options of [{}, { expectedLayers: diffIds() }]) {
        const { configDigest, manifestDigest, size } = await assemble(saved, options)
        results.push({ configDigest, manifestDigest, size })
        await writer.abort()
        writer = await newWriter()
      }
    }
    expect(results).toEqual(results.map(() => results[0]))
  })

  it('needs no header patched when the layers are named by their digests', async () => {
    await expectWhole(await assemble(await ociArchive(layers), { expectedLayers: diffIds() }))
    expect(patches).toEqual([])
  })

  it('is right when what was foretold is wrong', async () => {
    // The folders of this archive have no names that an Engine would give, so all but one guess fail.
    await expectWhole(await assemble(await legacyArchive(layers), { expectedLayers: diffIds() }))
    expect(patches).toHaveLength(2)
  })

  it('holds a layer once that occurs twice', async () => {
    const [lowest = Buffer.alloc(0), big = Buffer.alloc(0)] = layers
    const twice = [lowest, big, lowest]
    const legacy = await expectWhole(await assemble(await legacyArchive(twice)), twice)
    await writer.abort()
    writer = await newWriter()
    const oci = await expectWhole(await assemble(await ociArchive(twice, { gzip: true })), twice)
    for (const files of [legacy, oci]) expect([...files.values()].filter((content) => content.equals(lowest))).toHaveLength(1)
  })

  it('takes names that need extended headers', async () => {
    const odd = [await layerTar(`${'long/'.repeat(60)}näme`, 'x')]
    const files = await expectWhole(await assemble(await ociArchive(odd)), odd)
    expect(files.get(blobName(odd[0] ?? ''))).toEqual(odd[0])
  })

  it('leaves out a layer of another image if that is known beforehand', async () => {
    const foreign = await layerTar('foreign', randomBytes(700_000))
    const saved = await ociArchive(layers, { extra: [{ name: blobName(foreign), content: foreign }] })
    const files = await expectWhole(await assemble(saved, { expectedLayers: diffIds() }))
    expect(files.has(blobName(foreign))).toBe(false)
  })

  it('tells how far it is', async () => {
    const seen: number[] = []
    const { size } = await assemble(await legacyArchive(layers), { onProgress: (bytes) => seen.push(bytes) })
    expect(seen).toEqual([...seen].sort((left, right) => left - right))
    expect(seen.at(-1)).toBe(size)
  })

  describe('is refused, with the reason, when the Engine sends', () => {
    it.each<[string, () => Promise<Buffer>, RegExp]>([
      ['too few layers', () => legacyArchive(layers.slice(0, 2), configOf(layers)), /without its layer sha256:/],
      ['a layer that is not of the image', () => legacyArchive(layers, configOf(layers.slice(0, 2))), /it does not consist of/],
      ['a layer that was changed', () => ociArchive([layers[0] ?? Buffer.alloc(0), Buffer.from(layers[1] ?? '').fill('x', 2000, 2001)], { config: configOf(layers.slice(0, 2)) }), /without its layer/],
      ['a configuration that was changed', async () => tarOf([{ name: `${'1'.repeat(64)}/layer.tar`, content: layers[0] ?? '' }, { name: `${'2'.repeat(64)}.json`, content: configOf(layers) }, { name: 'manifest.json', content: `[{"Config":"${'2'.repeat(64)}.json"}]` }]), /has the digest [0-9a-f]{64}/],
      ['no manifest', () => tarOf([{ name: 'oci-layout', content: '{}' }]), /index\.json is missing/],
      ['two images', () => tarOf([{ name: 'manifest.json', content: '[{"Config":"a"},{"Config":"b"}]' }]), /not one image/],
      ['half an archive', async () => (await legacyArchive(layers)).subarray(0, 3_000_000), /can not be read/],
      ['no archive at all', async () => Buffer.from('<html>Bad gateway</html>'.repeat(100)), /can not be read/],
      ['damaged gzip', async () => {
        const squeezed = gzipSync(layers[1] ?? '')
        squeezed.fill('x', 40_000, 41_000)
        return tarOf([{ name: blobName(squeezed), content: squeezed }])
      }, /can not be read|without its layer/],
    ])('%s', async (_, saved, reason) => {
      await expect(assemble(await saved())).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(reason) })
    })

    it('a document without end', async () => {
      const huge = Buffer.alloc(20_000_000, ' ')
      huge[0] = 0x7b
      await expect(assemble(await tarOf([{ name: blobName(huge), content: huge }]))).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringContaining('larger than any document') })
    })

    it('nothing more', async () => {
      const bytes = await legacyArchive(layers)
      const source = Readable.from((async function* () {
        yield bytes.subarray(0, 1_000_000)
        throw new Error('socket hang up')
      })(), { objectMode: false })
      await expect(assemble(bytes, { source })).rejects.toThrow('socket hang up')
    })
  })

  it('tells what the storage says when it takes no more', async () => {
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' })
    let calls = 0
    const failing: TarballWriter = { ...writer, get position() { return writer.position }, write: (chunk) => (++calls > 3 ? Promise.reject(full) : writer.write(chunk)) }
    await expect(assemble(await legacyArchive(layers), { writer: failing })).rejects.toBe(full)
  })

  it('stops in the middle when told to', async () => {
    const controller = new AbortController()
    const reason = new Error('cancelled')
    await expect(assemble(await legacyArchive(layers), { signal: controller.signal, onProgress: () => controller.abort(reason) })).rejects.toBe(reason)
  })
})

async function unpack(bytes: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for await (const entry of Readable.from([bytes]).pipe(extract())) files.set(entry.header.name, await buffer(entry))
  return files
}
