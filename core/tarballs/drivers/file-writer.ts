import { type FileHandle, link, open, rename, stat, statfs, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HakuError, systemErrorCode } from '../../errors.ts'
import type { StreamedFile } from '../driver.ts'
import { streamFile } from './file-reader.ts'
import { isFull, storageError } from './file-system-errors.ts'

export interface FilePlace {
  /** The temporary file. */
  path: string
  /** Path of a key. */
  target(key: string): string
}

/** A new file under a temporary name; fails if it exists. */
export async function createStreamedFile({ path, target }: FilePlace): Promise<StreamedFile> {
  const directory = dirname(path)
  const handle = await open(path, 'wx+', MODE)
  const writeBack = createWriteBack(handle)
  let position = 0
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
    patch: (at, chunk) => attempt(() => writeAll(handle, chunk, at)),
    readBack: () => streamFile({ path, start: 0, end: position }),
    finish: () =>
      attempt(async () => {
        await handle.chmod(MODE).catch(ignoreUnsupported)
        await writeBack.settled()
        await handle.sync()
        const { size } = await handle.stat()
        if (size !== position) throw new HakuError('storage.unavailable', `${path} has ${size} bytes after ${position} were written. Check the shared storage.`)
        await close()
      }),
    commit: (key) => attempt(() => publish(path, target(key))),
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
/**
 * One write to the page cache takes so much. Not more: for larger ones Linux 6 looks for contiguous memory, and on a virtual
 * machine that is memory nobody touched yet: 640 MB took 0.3 s in writes of 64 KiB, 0.5 s of 128 KiB and 1.6 s of 1 MiB.
 */
const WRITE_BYTES = 128 * 1024
const PARALLEL_WRITES = 4
const WRITE_BACK_BYTES = 64 * 1024 * 1024

const UNSUPPORTED = new Set(['EPERM', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])
/** What `link` answers on file systems without hard links (CIFS, exFAT, some FUSE). */
const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

async function writeAll(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let start = 0; start < chunk.length; start += WRITE_BYTES * PARALLEL_WRITES) {
    const starts = Array.from({ length: PARALLEL_WRITES }, (_, index) => start + index * WRITE_BYTES).filter((at) => at < chunk.length)
    await settleAll(starts.map((at) => writePiece(handle, chunk.subarray(at, at + WRITE_BYTES), position + at)))
  }
}

/** Like `Promise.all`, but when it rejects nothing is under way any more, so that the handle may be closed. */
async function settleAll(work: Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** A full disk may take part of a write first and refuse the rest: the second try brings the reason. */
async function writePiece(handle: FileHandle, piece: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < piece.length; ) {
    done += (await handle.write(piece, done, piece.length - done, position + done)).bytesWritten
  }
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
