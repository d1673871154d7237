import { constants, createReadStream, createWriteStream } from 'node:fs'
import { copyFile, type FileHandle, link, open, rename, stat, statfs, truncate, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { HakuError, systemErrorCode } from '../../errors.ts'
import type { StreamedFile } from '../driver.ts'
import { isFull, storageError } from './file-system-errors.ts'
import { writeAll, WRITE_BYTES } from './write-all.ts'

export interface FilePlace {
  /** The temporary file. */
  path: string
  /** The final one. */
  target: string
  /** The file begins with the first `length` bytes of this one. */
  start?: { path: string; length: number }
}

/** A new file under a temporary name; fails if it exists. */
export async function createStreamedFile({ path, target, start }: FilePlace): Promise<StreamedFile> {
  const directory = dirname(path)
  if (start) await copyStart(start, path)
  const handle = await open(path, start ? 'r+' : 'wx+', MODE)
  const writeBack = createWriteBack(handle)
  let position = start?.length ?? 0
  let isOpen = true

  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      const sizes = isFull(error) ? { neededBytes: position, freeBytes: await freeBytes(directory) } : {}
      throw storageError(error, { directory, file: path, ...sizes })
    }
  }
  async function close(): Promise<void> {
    if (!isOpen) return
    isOpen = false
    await writeBack.settled()
    // NFS reports a failed write at the close, so its result counts.
    await handle.close()
  }

  return {
    get position() {
      return position
    },
    write(chunk) {
      const at = position
      position += chunk.length
      return attempt(async () => {
        await writeAll(handle, chunk, at)
        writeBack.reached(at + chunk.length)
      })
    },
    finish: () =>
      attempt(async () => {
        await handle.chmod(MODE).catch(ignoreUnsupported)
        await writeBack.settled()
        await handle.sync()
        const { size } = await handle.stat()
        if (size !== position) throw new HakuError('storage.unavailable', `${path} has ${size} bytes after ${position} were written. Check the shared storage.`)
        await close()
      }),
    commit: () => attempt(() => publish(path, target)),
    async abort() {
      await close().catch(() => undefined)
      await attempt(() => unlinkIfThere(path))
    },
  }
}

/** Bytes that an unprivileged user may still write; `undefined` if the file system does not say. */
export async function freeBytes(directory: string): Promise<number | undefined> {
  const stats = await statfs(directory).catch(() => undefined)
  return stats && stats.bavail * stats.bsize
}

/** Idempotent. */
export async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error
  }
}

/** Without this a power cut may forget names. Some network file systems can not sync a directory, and need not. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync().catch(ignoreUnsupported)
  } finally {
    await handle.close()
  }
}

// --- internal ---

/** Runners read under other users, whatever the umask of the Host is. */
const MODE = 0o644
const WRITE_BACK_BYTES = 64 * 1024 * 1024

/** What the kernel answers where a file can not be cloned. */
const NO_CLONES = new Set(['EOPNOTSUPP', 'ENOTSUP', 'EXDEV', 'EINVAL', 'ENOSYS', 'ENOTTY', 'EBADF', 'EPERM'])
const UNSUPPORTED = new Set(['EPERM', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])
/** What `link` answers on file systems without hard links (CIFS, exFAT, some FUSE). */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/** A clone where the file system can (btrfs, XFS), else a copy inside the kernel, which NFS 4.2 leaves to its server. */
async function copyStart({ path: source, length }: { path: string; length: number }, path: string): Promise<void> {
  try {
    const { size } = await stat(source).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'ENOENT') throw error
      throw new HakuError('tarball.not_found', `${basename(source)} is not on the shared storage any more, and the new tarball was to begin as it does. Try again.`, { cause: error })
    })
    if (size < length) throw new HakuError('tarball.damaged', `${basename(source)} was cut: ${length} bytes expected, ${size} found. Package the environment again.`)
    if (!(await clone(source, path))) await copyBytes(source, path, { length, size })
    await truncate(path, length)
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') await unlinkIfThere(path)
    throw storageError(error, { directory: dirname(path), file: source })
  }
}

async function clone(source: string, path: string): Promise<boolean> {
  try {
    await copyFile(source, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    if (!NO_CLONES.has(systemErrorCode(error) ?? '')) throw error
    await unlinkIfThere(path)
    return false
  }
}

/** Node can only ask the kernel for whole files: of one that is mostly not wanted, the start is read and written here. */
async function copyBytes(source: string, path: string, { length, size }: { length: number; size: number }): Promise<void> {
  if (length * 2 >= size) return copyFile(source, path, constants.COPYFILE_EXCL)
  const from = Readable.from(length === 0 ? [] : createReadStream(source, { end: length - 1, highWaterMark: WRITE_BYTES }))
  await pipeline(from, createWriteStream(path, { flags: 'wx', mode: MODE, highWaterMark: WRITE_BYTES }))
}

/**
 * Sends what is written on to the disk while more is coming, so that the sync at the end has little left to do. A failure is kept:
 * the system tells it only once, and the last sync would not hear of it.
 */
function createWriteBack(handle: FileHandle) {
  let started = 0
  let running: Promise<void> | undefined
  let failure: unknown
  return {
    reached(position: number) {
      if (running || position - started < WRITE_BACK_BYTES) return
      started = position
      running = handle.datasync().catch((error: unknown) => {
        failure ??= error
      }).finally(() => {
        running = undefined
      })
    },
    async settled() {
      await running
      if (failure !== undefined) throw failure
    },
  }
}

/** Gives the file its name, or throws and leaves no trace of it. */
async function publish(from: string, to: string): Promise<void> {
  await renameNew(from, to)
  try {
    await syncDirectory(dirname(to))
  } catch (error) {
    await unlinkIfThere(to)
    throw error
  }
}

/** Renames without replacing: a hard link refuses an existing name. Without hard links a look before has to do. */
async function renameNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    const code = systemErrorCode(error) ?? ''
    if (NO_HARD_LINKS.has(code)) return renameIfFree(from, to)
    if (code !== 'EEXIST') throw error
    // NFS repeats a call whose answer was lost, and then finds the link that it has made itself.
    if (!(await isSameFile(from, to))) throw exists(to, error)
  }
  // A second name is litter and no failure: the next sweep takes it.
  await unlink(from).catch(() => undefined)
}

async function renameIfFree(from: string, to: string): Promise<void> {
  const isTaken = await stat(to).then(() => true, (error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return false
    throw error
  })
  if (isTaken) throw exists(to)
  await rename(from, to)
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [left, right] = await Promise.all([stat(one), stat(other)])
  return left.ino === right.ino && left.dev === right.dev
}

function exists(path: string, cause?: unknown): HakuError {
  return new HakuError('environment.busy', `${path} exists already. Does another Host write to the same shared directory?`, { cause })
}

/** File systems without Unix modes or without a sync of directories. */
function ignoreUnsupported(error: unknown): void {
  if (!UNSUPPORTED.has(systemErrorCode(error) ?? '')) throw error
}
