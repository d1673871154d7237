import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { open, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { demultiplex } from '#core/engine/demultiplex.ts'
import { createId } from '#core/ids.ts'
import { imageTag, labels } from '#core/paths.ts'
import { assembleTarball, layersEnd } from '#core/tarballs/assemble.ts'
import { spoolArchive } from '#core/tarballs/engine-archive.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { openLoadable } from '#core/tarballs/loadable.ts'
import type { VersionLayer, VersionManifest } from '#core/tarballs/manifest.ts'
import { createSpool } from '#core/tarballs/spool.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { digestOf } from '#test/support/bytes.ts'
import { ociArchive, streamOf } from './support/saved-archives.ts'

describe.skipIf(engineMissing)('our archive of an image', () => {
  const engine = testEngine()
  const name = `archive-test-${createId().slice(-8)}`
  const containers: string[] = []
  const committed: string[] = []
  let directory: string
  let store: TarballStore
  let image: string

  beforeAll(async () => {
    await ensureBusybox(socketPath)
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-archive-'))
    store = createFileSystemStore({ directory, ownerId: 'me' })
    image = await commitWith('busybox:latest', 'echo packaged > /proof')
  })
  afterEach(async () => {
    for (const id of containers.splice(0)) await engine.removeContainer(id)
    await engine.removeImage(`${name}:source`)
    // The Engine keeps the parents of what is removed.
    for (const id of committed.splice(0).toReversed()) await engine.removeImage(id)
    await engine.removeImage(imageTag(name))
    const left = readdirSync(directory).filter((file) => !file.startsWith(name))
    rmSync(directory, { recursive: true })
    expect(left).toEqual([])
  })

  async function run(reference: string, script: string): Promise<string> {
    const id = await engine.createContainer({ name: `${name}-${containers.length}`, image: reference, command: ['/bin/sh', '-c', script], env: {}, labels: {}, mounts: [], network: 'host', logs: 'default' })
    containers.push(id)
    const stream = await engine.attachOutput(id)
    const output = (async () => {
      let all = ''
      for await (const { bytes } of demultiplex(stream)) all += String(bytes)
      return all
    })()
    await engine.startContainer(id)
    return output
  }

  async function commitWith(reference: string, script: string): Promise<string> {
    await run(reference, script)
    const id = await engine.commitContainer(containers.at(-1) ?? '', { repository: name, tag: 'source', author: '', comment: '' })
    committed.push(id)
    return id
  }

  /** Packages `image` as this version, on top of the layers of `below`. */
  async function publish(version: number, { below, saved }: { below?: VersionManifest; saved?: Buffer } = {}): Promise<VersionManifest> {
    const diffIds = (await engine.inspectImage(image))?.layers ?? []
    const reused = below?.layers ?? []
    const missing = diffIds.slice(reused.length)
    const spool = await createSpool(join(directory, 'spool'))
    const writer = await store.createWriter(name, version, below && { environment: name, version: below.version, length: layersEnd(below.layers) })
    try {
      const source = saved ? streamOf(saved) : await engine.saveImage(image)
      const { layers } = await spoolArchive({ source, spool, expectedLayers: diffIds, wanted: (diffId) => missing.includes(diffId) })
      const added = missing.map((diffId) => {
        const layer = layers.get(diffId)
        if (!layer) throw new Error(`without layer ${diffId}`)
        return layer
      })
      const manifest = await assembleTarball({
        writer, reused, added, baseLayers: 1, baseImage: 'busybox', note: '',
        image: { environment: name, version, author: 'me', created: new Date(0).toISOString(), architecture: 'amd64', os: 'linux', env: ['FROM_HOST=1'], baseConfig: { Cmd: ['sh'], Labels: { kept: 'yes', 'hakuriver.container': 'no' } } },
      })
      await writer.publish(manifest)
      return manifest
    } finally {
      await writer.abort()
      await spool.close()
    }
  }

  async function load(version: number, layers?: readonly VersionLayer[]): Promise<string[]> {
    const entry = await store.find(name, version)
    const manifest = entry && (await store.readManifest(name, version))
    if (!entry || !manifest) throw new Error('not there')
    return engine.loadImage(openLoadable({ entry, manifest, layers: layers ?? manifest.layers, read: ({ offset, size }) => store.read(name, version, { start: offset, end: offset + size }) }))
  }

  async function forgetSource(): Promise<void> {
    for (const id of containers.splice(0)) await engine.removeContainer(id)
    await engine.removeImage(`${name}:source`)
    for (const id of committed.splice(0).toReversed()) await engine.removeImage(id)
  }

  it('loads on the Engine, under its tag and with the digest of the manifest, and holds what was packaged', async () => {
    const manifest = await publish(7)
    await forgetSource()
    expect(await load(7)).toEqual([imageTag(name)])
    const loaded = await engine.inspectImage(imageTag(name))
    expect([manifest.configDigest, manifest.manifestDigest]).toContain(loaded?.id)
    expect(loaded?.layers).toEqual(manifest.layers.map(({ diffId }) => diffId))
    expect(loaded?.labels).toEqual({ kept: 'yes', [labels.environment]: name, [labels.version]: '7' })
    expect(loaded?.config).toMatchObject({ Cmd: ['sh'], Env: ['FROM_HOST=1'] })
    expect(await run(imageTag(name), 'cat /proof')).toBe('packaged\n')
  })

  it('loads as it lies there, with nothing of ours between', async () => {
    await publish(7)
    await forgetSource()
    expect(await engine.loadImage(await store.read(name, 7))).toEqual([imageTag(name)])
    expect(await run(imageTag(name), 'cat /proof')).toBe('packaged\n')
  })

  it('loads with only the layers that the Engine lacks', async () => {
    const first = await publish(7)
    await load(7)
    image = await commitWith(image, 'echo more > /more')
    const second = await publish(8, { below: first })
    await forgetSource()
    await load(8, second.layers.slice(first.layers.length))
    expect(await run(imageTag(name), 'cat /proof /more')).toBe('packaged\nmore\n')
    // The tag moved on; what it named before has no name now.
    for (const digest of [first.configDigest, first.manifestDigest]) committed.push(digest)
  })

  it('finds each layer at the place that the manifest names', async () => {
    const manifest = await publish(7)
    for (const { offset, size, digest } of manifest.layers) {
      expect(digestOf(await buffer(await store.read(name, 7, { start: offset, end: offset + size })))).toBe(digest)
    }
  })

  it('gives the same layers the same digests each time', async () => {
    const first = await publish(7)
    const second = await publish(8)
    expect(second.layers).toEqual(first.layers)
    expect(second.configDigest).not.toBe(first.configDigest)
  })

  it('holds compressed layers as plain ones', async () => {
    const plain = await publish(7)
    const whole = await buffer(await store.read(name, 7))
    const layers = plain.layers.map(({ offset, size }) => whole.subarray(offset, offset + size))
    expect(gzipSync(layers[1] ?? '').length).toBeLessThan(layers[1]?.length ?? 0)
    const squeezed = await publish(8, { saved: await ociArchive(layers, { gzip: true }) })
    expect(squeezed.layers).toEqual(plain.layers)
    await forgetSource()
    await load(8)
    expect(await run(imageTag(name), 'cat /proof')).toBe('packaged\n')
  })

  it('is refused when damaged, and the Engine loads nothing', async () => {
    const { layers } = await publish(7)
    await forgetSource()
    const handle = await open(join(directory, `${name}-7.tar`), 'r+')
    await handle.write(Buffer.from('x'), 0, 1, (layers[1]?.offset ?? 0) + 700)
    await handle.close()
    await expect(load(7)).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged', message: expect.stringMatching(/for a layer its manifest says sha256:[0-9a-f]{64}, found sha256:[0-9a-f]{64}/) }))
    expect(await engine.inspectImage(imageTag(name))).toBeUndefined()
  })

  it('is refused when cut, before the first byte', async () => {
    await publish(7)
    await truncate(join(directory, `${name}-7.tar`), 5000)
    await expect(load(7)).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged', message: expect.stringContaining('has 5000 bytes') }))
    expect(await buffer(await store.read(name, 7))).toHaveLength(5000)
  })
})
