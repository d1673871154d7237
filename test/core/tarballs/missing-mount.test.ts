import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { hostStatePaths, type SharedPaths, sharedPaths } from '#core/paths.ts'
import { assertSharedDirectory } from '#core/shared-directory.ts'
import { streamFile } from '#core/tarballs/drivers/file-reader.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { prepareSharedDirectory } from '#server/storage.ts'
import { layerOf, publishVersion } from '#test/support/versions.ts'

let root: string
let paths: SharedPaths
let stateFile: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hakuriver-mount-'))
  paths = sharedPaths(join(root, 'shared'), 'tarballs')
  stateFile = hostStatePaths(root).storageMark
  mkdirSync(paths.root)
})
afterEach(() => rmSync(root, { recursive: true }))

const start = () => prepareSharedDirectory(paths, { id: 'host-1', stateFile })
it('a start makes a directory that tasks of all users write in, and leaves one that is there as it is', () => {
  start()
  expect(statSync(paths.data).mode & 0o7777).toBe(0o1777)
  expect(statSync(paths.outputs).mode & 0o022).toBe(0)
  chmodSync(paths.data, 0o750)
  start()
  expect(statSync(paths.data).mode & 0o7777).toBe(0o750)
})

const store = () => createFileSystemStore({ directory: paths.tarballs, ownerId: 'me', mark: paths.mark })
const gone = { code: 'storage.unavailable', message: expect.stringContaining('mounted') }

const calls: [string, (tarballs: TarballStore) => Promise<unknown>][] = [
  ['list', (tarballs) => tarballs.list()],
  ['listVersions', (tarballs) => tarballs.listVersions('env')],
  ['find', (tarballs) => tarballs.find('env', 5)],
  ['readManifest', (tarballs) => tarballs.readManifest('env', 5)],
  ['read', (tarballs) => tarballs.read('env', 5)],
  ['createWriter', (tarballs) => tarballs.createWriter('env', 5)],
  ['remove', (tarballs) => tarballs.remove('env', 5)],
  ['sweep', (tarballs) => tarballs.sweep()],
  ['freeSpace', (tarballs) => tarballs.freeSpace()],
]

describe('a shared directory whose mount is gone', () => {
  it.each(calls)('is told by %s, and nothing is written there', async (_, call) => {
    mkdirSync(paths.tarballs)
    await expect(call(store())).rejects.toMatchObject(gone)
    expect(readdirSync(paths.root, { recursive: true })).toEqual(['tarballs'])
  })

  it('is another answer than one without tarballs', async () => {
    start()
    expect(await store().list()).toEqual([])
    expect(await store().find('env', 5)).toBeUndefined()
    await expect(store().read('env', 5)).rejects.toMatchObject({ code: 'tarball.not_found' })
    await expect(assertSharedDirectory(paths)).resolves.toBeUndefined()
    rmSync(paths.mark)
    await expect(assertSharedDirectory(paths)).rejects.toMatchObject(gone)
  })

  it('keeps a Host that knew it from starting, and from making anything there', () => {
    start()
    expect(existsSync(paths.mark)).toBe(true)
    start()
    rmSync(paths.root, { recursive: true })
    expect(start).toThrow(expect.objectContaining({ code: 'storage.unavailable' }))
    mkdirSync(paths.root)
    expect(start).toThrow(expect.objectContaining({ code: 'storage.unavailable', message: expect.stringContaining(stateFile) }))
    expect(readdirSync(paths.root)).toEqual([])
    // The cure that the message names.
    rmSync(stateFile)
    start()
    expect(existsSync(paths.mark)).toBe(true)
  })

  it('is known by a Host that lost its state, or came second', () => {
    start()
    rmSync(stateFile)
    prepareSharedDirectory(paths, { id: 'host-2', stateFile })
    expect(existsSync(stateFile)).toBe(true)
  })

  it('is told by a real mount that is taken away', async ({ skip }) => {
    const missing = mount(paths.root)
    if (missing) return skip(missing)
    let isMounted = true
    const unmount = () => {
      if (isMounted) execFileSync('umount', ['-l', paths.root])
      isMounted = false
    }
    onTestFinished(unmount)
    start()
    await publishVersion(store(), { environment: 'env', version: 5, layers: [layerOf({ a: 'b' })] })
    expect(await store().list()).toHaveLength(1)
    unmount()
    for (const [, call] of calls) await expect(call(store())).rejects.toMatchObject({ code: 'storage.unavailable' })
    expect(start).toThrow('is not the one that this Host has used')
    expect(readdirSync(paths.root)).toEqual([])
  })
})

describe('a file on NFS that is removed while it is read', () => {
  /** As a client whose handle the server does not know any more. */
  const stale = { read: () => Promise.reject(Object.assign(new Error('ESTALE: stale file handle'), { code: 'ESTALE' })), close: () => Promise.resolve() } as unknown as FileHandle

  it('is told as removed', async () => {
    const path = join(root, 'env-5.tar')
    await expect(buffer(streamFile({ path, handle: stale, start: 0, end: 5 }))).rejects.toMatchObject({ code: 'tarball.not_found', message: expect.stringContaining('env-5.tar was removed while it was read') })
  })

  it('goes on if another one has its name', async () => {
    const path = join(root, 'env-5.tar')
    writeFileSync(path, 'content')
    expect(String(await buffer(streamFile({ path, handle: stale, start: 2, end: 7 })))).toBe('ntent')
  })
})

/** Resolves to why it can not be done. */
function mount(directory: string): string | undefined {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', directory], { stdio: 'pipe' })
    return undefined
  } catch (error) {
    const reason = `no file system can be mounted here (${String(error).split('\n')[0]})`
    console.error(`[hakuriver] [test] skipped: ${reason}`)
    return reason
  }
}
