import { constants } from 'node:fs'
import { access, type FileHandle, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text, buffer } from 'node:stream/consumers'
import fsDriver from 'unstorage/drivers/fs-lite'
import { HakuError, systemErrorCode } from '../../errors.ts'
import { quote } from '../../names.ts'
import { assertMark } from '../../shared-directory.ts'
import type { StreamingDriver } from '../driver.ts'
import type { ByteRange } from '../store.ts'
import { createDirectoryStamp } from './directory-stamp.ts'
import { openFresh, streamFile } from './file-reader.ts'
import { storageError } from './file-system-errors.ts'
import { createStreamedFile, freeBytes, syncDirectory, unlinkIfThere } from './file-writer.ts'

export interface FileSystemDriverOptions {
  directory: string
  /** A file that is there whenever the storage is. It is looked for before anything is said to be missing, and before anything is written. */
  mark?: string
}

/**
 * A directory on a local disk or NFS. It is never created here: a missing one is a missing mount.
 *
 * unstorage's own methods that read or list are replaced: there a directory that can not be read is an empty one, an
 * error may come back as a value, and `:` in a key means a folder.
 */
export function createFileSystemDriver({ directory, mark }: FileSystemDriverOptions): StreamingDriver {
  const path = (key: string) => join(directory, assertKey(key))
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw storageError(error, { directory })
    }
  }

  /** A mount that is gone leaves an empty directory behind. */
  const assertThere = async (mode?: number) => {
    if (mark !== undefined) await assertMark(mark)
    await access(directory, mode)
  }

  const statKey = (key: string) =>
    attempt(async () => {
      const size = await sizeOf(path(key))
      if (size !== undefined) return { size }
      await assertThere()
      return undefined
    })
  const openRange = (key: string, range?: ByteRange) => attempt(() => openFile(path(key), range, assertThere))
  const listEntries = (prefix = '') =>
    attempt(async () => {
      const names = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.name.startsWith(prefix) && entry.isFile() && KEY_RE.test(entry.name)).map(({ name }) => name)
      const entries = await Promise.all(names.map(async (key) => ({ key, size: await sizeOf(path(key)) })))
      await assertThere()
      return entries.filter((entry): entry is { key: string; size: number } => entry.size !== undefined)
    })

  const remove = (key: string) =>
    attempt(async () => {
      await assertThere(constants.W_OK)
      await unlinkIfThere(path(key))
      await syncDirectory(directory)
    })

  const stampOf = createDirectoryStamp(directory)

  return {
    ...fsDriver({ base: directory, noClear: true }),
    listEntries,
    stat: statKey,
    openRange,
    stamp: (keys) => attempt(() => stampOf(keys.map(path))),
    getKeys: async () => (await listEntries()).map(({ key }) => key),
    hasItem: async (key) => (await statKey(key)) !== undefined,
    getMeta: async (key) => (await statKey(key)) ?? null,
    getItem: async (key) => ((await statKey(key)) ? text(await openRange(key)) : null),
    getItemRaw: async (key) => ((await statKey(key)) ? buffer(await openRange(key)) : null),
    createFile: ({ temporary, final }, start) =>
      attempt(async () => {
        await assertThere()
        return createStreamedFile({ path: path(temporary), target: path(final), ...(start && { start: { path: path(start.key), length: start.length } }) })
      }),
    removeItem: remove,
    discard: remove,
    freeSpace: () =>
      attempt(async () => {
        await assertThere()
        return freeBytes(directory)
      }),
  }
}

// --- internal ---

/** A key is the name of a file, to the letter. */
const KEY_RE = /^[A-Za-z0-9._+-]{1,255}$/

function assertKey(key: string): string {
  if (!KEY_RE.test(key) || key === '.' || key === '..') throw new HakuError('internal.error', `${quote(key)} can not be the name of a file on the shared storage`)
  return key
}

async function openFile(path: string, range: ByteRange | undefined, assertThere: () => Promise<void>): Promise<Readable> {
  const handle = await openFresh(path).catch(async (error: unknown) => {
    if (systemErrorCode(error) !== 'ENOENT') throw error
    await assertThere()
    throw new HakuError('tarball.not_found', `${path} is not there. Was it removed? "hakuriver.docker list-tars" shows what there is.`, { cause: error })
  })
  return streamFile({ path, handle, start: range?.start ?? 0, end: range?.end ?? (await sizeOfOpen(handle)) })
}

async function sizeOfOpen(handle: FileHandle): Promise<number> {
  try {
    return (await handle.stat()).size
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path)
    return found.isFile() ? found.size : undefined
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === 'ENOENT') return undefined
    if (code === 'ESTALE') return sizeAfresh(path)
    throw error
  }
}

async function sizeAfresh(path: string): Promise<number | undefined> {
  try {
    const handle = await openFresh(path)
    const size = await sizeOfOpen(handle)
    await handle.close()
    return size
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
