import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { demultiplex } from '#core/engine/demultiplex.ts'
import { createId } from '#core/ids.ts'
import { imageTag, labels } from '#core/paths.ts'
import { writeArchive, type WrittenArchive } from '#core/tarballs/archive.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore, TarballWriter } from '#core/tarballs/store.ts'
import { openVerified } from '#core/tarballs/verified.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'

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
    image = await commitWith('echo packaged > /proof')
  })
  afterEach(async () => {
    for (const id of containers.splice(0)) await engine.removeContainer(id)
    await engine.removeImage(`${name}:source`)
    // The Engine keeps the parents of what is removed.
    for (const id of committed.splice(0).toReversed()) await engine.removeImage(id)
    await engine.removeImage(imageTag(name))
    rmSync(directory, { recursive: true })
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

  async function commitWith(script: string): Promise<string> {
    await run('busybox:latest', script)
    return commitLast()
  }

  async function commitLast(): Promise<string> {
    const id = await engine.commitContainer(containers.at(-1) ?? '', { repository: name, tag: 'source', author: '', comment: '' })
    committed.push(id)
    return id
  }

  async function assemble(writer: TarballWriter, version: number): Promise<WrittenArchive> {
    const identity = { environment: name, version, repoTag: imageTag(name), baseConfig: { Cmd: ['sh'], Labels: { kept: 'yes', 'hakuriver.container': 'no' } }, author: 'me', created: new Date(0).toISOString() }
    return writeArchive({ source: await engine.saveImage(image), writer, image: identity })
  }

  async function publish(version: number): Promise<VersionManifest> {
    const writer = await store.createWriter(name, version)
    const archive = await assemble(writer, version)
    const manifest: VersionManifest = { formatVersion: 1, environment: name, version, baseImage: 'busybox', created: new Date(0).toISOString(), author: 'me', note: '', architecture: 'amd64', os: 'linux', ...archive }
    await writer.publish(manifest)
    return manifest
  }

  async function load(version: number): Promise<string[]> {
    const entry = await store.find(name, version)
    if (!entry) throw new Error('not there')
    return engine.loadImage(await openVerified(store, entry, await store.readManifest(name, version)))
  }

  it('loads on the Engine, under its tag and with the digest of the manifest, and holds what was packaged', async () => {
    const manifest = await publish(7)
    await engine.removeImage(`${name}:source`)
    expect(await load(7)).toEqual([imageTag(name)])
    const loaded = await engine.inspectImage(imageTag(name))
    expect([manifest.configDigest, manifest.manifestDigest]).toContain(loaded?.id)
    expect(loaded?.layers).toEqual(manifest.layers.map(({ diffId }) => diffId))
    expect(loaded?.labels).toEqual({ kept: 'yes', [labels.environment]: name, [labels.version]: '7' })
    expect(loaded?.config['Cmd']).toEqual(['sh'])
    expect(await run(imageTag(name), 'cat /proof')).toBe('packaged\n')
  })

  it('finds each layer at the place that the manifest names', async () => {
    const manifest = await publish(7)
    for (const { offset, size, digest } of manifest.layers) {
      const range = await store.read(name, 7, { start: offset, end: offset + size })
      const { createHash } = await import('node:crypto')
      const hash = createHash('sha256')
      for await (const chunk of range) hash.update(chunk as Buffer)
      expect(`sha256:${hash.digest('hex')}`).toBe(digest)
    }
  })

  it('gives the same layers the same digests each time', async () => {
    const first = await publish(7)
    const second = await publish(8)
    expect(second.layers.map(({ digest }) => digest)).toEqual(first.layers.map(({ digest }) => digest))
    expect(second.configDigest).not.toBe(first.configDigest)
  })

  it('needs nothing written twice when it is told the layers of the image', async () => {
    // Three layers, so that one is neither the lowest nor the topmost.
    await run(image, 'echo more > /more')
    image = await commitLast()
    const expectedLayers = (await engine.inspectImage(image))?.layers ?? []
    expect(expectedLayers).toHaveLength(3)
    const writer = await store.createWriter(name, 7)
    const once: TarballWriter = {
      ...writer,
      get position() {
        return writer.position
      },
      patch: () => Promise.reject(new Error('patched')),
      readBack: () => {
        throw new Error('read back')
      },
    }
    const identity = { environment: name, version: 7, repoTag: imageTag(name), baseConfig: {}, author: 'me', created: new Date(0).toISOString() }
    const archive = await writeArchive({ source: await engine.saveImage(image), writer: once, image: identity, expectedLayers })
    expect(archive.layers.map(({ diffId }) => diffId)).toEqual(expectedLayers)
    await writer.abort()
  })

  it('shows nothing before it is published, and leaves nothing when it is given up', async () => {
    const writer = await store.createWriter(name, 7)
    await assemble(writer, 7)
    expect(await store.list()).toEqual([])
    await writer.abort()
    expect(readdirSync(directory)).toEqual([])
  })

  it('stops in the middle when told to', async () => {
    const writer = await store.createWriter(name, 7)
    const controller = new AbortController()
    const identity = { environment: name, version: 7, repoTag: imageTag(name), baseConfig: {}, author: 'me', created: new Date(0).toISOString() }
    const source = await engine.saveImage(image)
    const reason = new Error('cancelled')
    await expect(writeArchive({ source, writer, image: identity, signal: controller.signal, onProgress: () => controller.abort(reason) })).rejects.toThrow('cancelled')
    await writer.abort()
    expect(readdirSync(directory)).toEqual([])
  })

  it('is refused when damaged, and the Engine loads nothing', async () => {
    await publish(7)
    await engine.removeImage(`${name}:source`)
    const { open } = await import('node:fs/promises')
    const handle = await open(join(directory, `${name}-7.tar`), 'r+')
    await handle.write(Buffer.from('x'), 0, 1, 2000)
    await handle.close()
    await expect(load(7)).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged', message: expect.stringMatching(/sha256 [0-9a-f]{64}, found [0-9a-f]{64}/) }))
    expect(await engine.inspectImage(imageTag(name))).toBeUndefined()
  })

  it('is refused when cut, before the first byte', async () => {
    await publish(7)
    const { truncate } = await import('node:fs/promises')
    await truncate(join(directory, `${name}-7.tar`), 5000)
    await expect(load(7)).rejects.toThrow(expect.objectContaining({ code: 'tarball.damaged', message: expect.stringContaining('has 5000 bytes') }))
    expect(await text(await store.read(name, 7))).toHaveLength(5000)
  })
})
