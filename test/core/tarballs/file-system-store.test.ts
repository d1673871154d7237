import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { assembleTarball } from '#core/tarballs/assemble.ts'
import { createFileSystemDriver } from '#core/tarballs/drivers/file-system.ts'
import { formatBytes } from '#core/tarballs/drivers/file-system-errors.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { openLoadable } from '#core/tarballs/loadable.ts'
import { manifestOf } from '#test/conformance/tarball-store.ts'
import { digestOf } from '#test/support/bytes.ts'
import { streamOf } from './support/saved-archives.ts'

describe('tarballs in a directory', () => {
  let root: string
  let directory: string

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'hakuriver-files-'))
    directory = join(root, 'tarballs')
    mkdirSync(directory)
  })
  afterEach(() => {
    rmSync(root, { recursive: true })
  })

  async function publish(content: Buffer): Promise<void> {
    const writer = await createFileSystemStore({ directory, ownerId: 'me' }).createWriter('env', 5)
    await writer.write(content)
    await writer.finish()
    await writer.publish(manifestOf('env', 5, content))
  }

  it('are readable for other users, whatever the umask', async () => {
    const before = process.umask(0o077)
    try {
      await publish(Buffer.from('content'))
    } finally {
      process.umask(before)
    }
    expect(readdirSync(directory).map((name) => (statSync(join(directory, name)).mode & 0o777).toString(8))).toEqual(['644', '644'])
  })

  it('have a stamp that stays while nothing changes, once it is sure', async () => {
    await publish(Buffer.from('content'))
    const store = createFileSystemStore({ directory, ownerId: 'me' })
    // Whatever else happens in the tick of the clock in which the directory was changed, its time stays the same.
    expect(await store.stamp('env', 5)).toBeUndefined()
    const stamp = await vi.waitFor(async () => {
      const found = await store.stamp('env', 5)
      expect(found).toBeDefined()
      return found
    }, { timeout: 5000 })
    expect(await store.stamp('env', 5)).toBe(stamp)
    writeFileSync(join(directory, 'env-6.tar'), '')
    expect(await store.stamp('env', 5)).toBeUndefined()
  })

  it('tell a missing directory by its path, and do not make it', async () => {
    rmSync(directory, { recursive: true })
    const store = createFileSystemStore({ directory, ownerId: 'me' })
    await expect(store.list()).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining(`${directory} does not exist`) })
    await expect(store.createWriter('env', 5)).rejects.toMatchObject({ code: 'storage.unavailable' })
    expect(readdirSync(root)).toEqual([])
  })

  it('tell a file where the directory should be', async () => {
    rmSync(directory, { recursive: true })
    writeFileSync(directory, '')
    const store = createFileSystemStore({ directory, ownerId: 'me' })
    for (const call of [() => store.list(), () => store.find('env', 5), () => store.createWriter('env', 5)]) {
      await expect(call()).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('is not a directory') })
    }
  })

  it('never take a directory for a tarball', async () => {
    mkdirSync(join(directory, 'env-5.tar'))
    const store = createFileSystemStore({ directory, ownerId: 'me' })
    expect(await store.list()).toEqual([])
    expect(await store.find('env', 5)).toBeUndefined()
  })

  it('are reached through the driver as by any unstorage driver, without its leniency', async () => {
    await publish(Buffer.from('content'))
    const driver = createFileSystemDriver({ directory })
    expect(await driver.getItem('env-5.tar')).toBe('content')
    expect(await driver.hasItem('env-6.tar', {})).toBe(false)
    expect(await driver.getKeys('', {})).toEqual(expect.arrayContaining(['env-5.tar', 'env-5.json']))
    for (const key of ['../secret', 'a:b', 'a/b', '..', '']) await expect(driver.stat(key)).rejects.toMatchObject({ code: 'internal.error' })
    rmSync(directory, { recursive: true })
    await expect(driver.getKeys('', {})).rejects.toMatchObject({ code: 'storage.unavailable' })
    await expect(driver.getItem('env-5.tar')).rejects.toMatchObject({ code: 'storage.unavailable' })
  })

  it('are held back at their end until the digest of each layer is right', async () => {
    const layer = Buffer.alloc(1_000_000, 'a')
    const store = createFileSystemStore({ directory, ownerId: 'me' })
    const writer = await store.createWriter('env', 5)
    const spooled = { digest: digestOf(layer), size: layer.length, open: () => streamOf(layer) }
    const image = { environment: 'env', version: 5, author: '', created: new Date(0).toISOString(), architecture: 'amd64', os: 'linux', env: [], baseConfig: undefined }
    const manifest = await assembleTarball({ writer, reused: [], added: [spooled], baseLayers: 1, baseImage: 'busybox', note: '', image })
    await writer.publish(manifest)
    const entry = await store.find('env', 5)
    if (!entry) throw new Error('not there')
    const open = (layers = manifest.layers) => openLoadable({ entry, manifest, layers, read: ({ offset, size }) => store.read('env', 5, { start: offset, end: offset + size }) })
    const whole = readFileSync(join(directory, 'env-5.tar'))
    expect((await buffer(open())).equals(whole)).toBe(true)
    // Without layers it has the same documents: an Engine that has them all needs no more.
    const documents = await buffer(open([]))
    expect(documents.equals(whole.subarray(whole.length - documents.length))).toBe(true)

    const { offset = 0 } = manifest.layers[0] ?? {}
    writeFileSync(join(directory, 'env-5.tar'), Buffer.from(whole).fill('b', offset + 500_000, offset + 500_001))
    let passed = 0
    const drain = async () => {
      for await (const chunk of open()) passed += (chunk as Buffer).length
    }
    await expect(drain()).rejects.toMatchObject({ code: 'tarball.damaged', message: expect.stringMatching(/env-5\.tar is damaged: for a layer its manifest says sha256:[0-9a-f]{64}, found/) })
    expect(passed).toBe(offset + layer.length)
  })
})

const mountPoint = mkdtempSync(join(tmpdir(), 'hakuriver-small-'))
const mountMissing = mountSmallDisk()
if (mountMissing) console.error(`[hakuriver] [test] tests with a full disk are skipped: ${mountMissing}`)

describe.skipIf(mountMissing)('a small disk', () => {
  const store = () => createFileSystemStore({ directory: mountPoint, ownerId: 'me' })

  beforeAll(() => {
    writeFileSync(join(mountPoint, 'env-4.tar'), 'before')
  })
  afterAll(() => {
    execFileSync('umount', [mountPoint])
    rmSync(mountPoint, { recursive: true })
  })

  it('that gets full is told with sizes, and keeps what was there', async () => {
    const writer = await store().createWriter('env', 5)
    const fill = async () => {
      for (let count = 0; count < 100; count++) await writer.write(Buffer.alloc(100_000))
    }
    await expect(fill()).rejects.toMatchObject({ code: 'storage.full', message: expect.stringMatching(/needed, .* free/) })
    await writer.abort()
    expect(readdirSync(mountPoint)).toEqual(['env-4.tar'])
    const next = await store().createWriter('env', 5)
    await next.write(Buffer.alloc(100_000))
    await next.finish()
    await next.publish(manifestOf('env', 5, Buffer.alloc(100_000)))
    expect((await store().list()).map(({ version }) => version)).toEqual([5, 4])
  })

  it('that is mounted read-only can be read, and says so when written', async () => {
    execFileSync('mount', ['-o', 'remount,ro', mountPoint])
    try {
      expect((await store().find('env', 4))?.size).toBe(6)
      await expect(store().createWriter('env', 9)).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining('read-only') })
      await expect(store().remove('env', 4)).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining(mountPoint) })
    } finally {
      execFileSync('mount', ['-o', 'remount,rw', mountPoint])
    }
  })
})

describe('sizes for people', () => {
  it.each([[0, '0 bytes'], [1023, '1023 bytes'], [1024, '1.0 KiB'], [1_572_864, '1.5 MiB'], [5 * 1024 ** 4, '5.0 TiB'], [1024 ** 5, '1024.0 TiB']])('%d is %s', (bytes, expected) => {
    expect(formatBytes(bytes)).toBe(expected)
  })
})

/** Mounts two megabytes of memory. Resolves to why it can not be done. */
function mountSmallDisk(): string | undefined {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', mountPoint], { stdio: 'pipe' })
    return undefined
  } catch (error) {
    rmSync(mountPoint, { recursive: true })
    return `no file system can be mounted here (${String(error).split('\n')[0]})`
  }
}
