import { constants, createReadStream } from 'node:fs'
import { access, type FileHandle, link, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import fsDriver from 'unstorage/drivers/fs-lite'
import { errorMessage, HakuError, systemErrorCode } from '../../errors.ts'
import type { StreamedFile, StreamingDriver } from '../driver.ts'

/** Written in pieces of at least this size: each write to NFS costs a round trip. */
const WRITE_BYTES = 1024 * 1024
const READ_BYTES = 1024 * 1024

/** A directory on a local disk or NFS. It is never created here: a missing one is a missing mount. */
export function createFileSystemDriver({ directory }: { directory: string }): StreamingDriver {
  const path = (key: string) => join(directory, key)
  const attempt = <T>(work: () => Promise<T>) => work().catch((error: unknown) => Promise.reject(storageError(directory, error)))

  async function syncDirectory(): Promise<void> {
    const handle = await open(directory, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  return {
    ...fsDriver({ base: directory }),
    listEntries: () =>
      attempt(async () => {
        const names = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name)
        const entries = await Promise.all(names.map(async (key) => ({ key, size: await sizeOf(path(key)) })))
        return entries.filter((entry): entry is { key: string; size: number } => entry.size !== undefined)
      }),
    stat: (key) =>
      attempt(async () => {
        await access(directory)
        const size = await sizeOf(path(key))
        return size === undefined ? undefined : { size }
      }),
    openRange: (key, range) => attempt(() => openFile(directory, key, range)),
    createFile: (key) =>
      attempt(async () => {
        const handle = await open(path(key), 'wx+', 0o644)
        return createStreamedFile({ handle, directory, temporary: path(key), syncDirectory, target: path })
      }),
    removeItem: (key) =>
      attempt(async () => {
        await access(directory, constants.W_OK)
        await unlinkIfThere(path(key))
        await syncDirectory()
      }),
    freeSpace: () =>
      attempt(async () => {
        const { bavail, bsize } = await statfs(directory)
        return bavail * bsize
      }),
  }
}

// --- internal ---

interface FileContext {
  handle: FileHandle
  directory: string
  temporary: string
  target(key: string): string
  syncDirectory(): Promise<void>
}

function createStreamedFile({ handle, directory, temporary, target, syncDirectory }: FileContext): StreamedFile {
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  let written = 0
  let flight: Promise<void> = Promise.resolve()
  let isOpen = true
  const attempt = <T>(work: () => Promise<T>) => work().catch((error: unknown) => Promise.reject(storageError(directory, error)))

  /** One write is under way while the next piece is gathered. */
  async function flush(): Promise<void> {
    const buffers = pending
    const position = written
    written += pendingBytes
    pending = []
    pendingBytes = 0
    await flight
    flight = writeAll(handle, buffers, position)
    // Who awaits the flight next hears of its failure; until then it must not count as unhandled.
    flight.catch(() => undefined)
  }

  async function settle(): Promise<void> {
    if (pendingBytes > 0) await flush()
    await flight
  }

  async function close(): Promise<void> {
    if (!isOpen) return
    isOpen = false
    // NFS reports a failed write at the close, so its result counts.
    await handle.close()
  }

  return {
    get position() {
      return written + pendingBytes
    },
    write: (chunk) =>
      attempt(async () => {
        pending.push(chunk)
        pendingBytes += chunk.length
        if (pendingBytes >= WRITE_BYTES) await flush()
      }),
    patch: (position, chunk) =>
      attempt(async () => {
        await settle()
        await writeAll(handle, [chunk], position)
      }),
    readBack: () => createReadStream(temporary, { highWaterMark: READ_BYTES }),
    finish: () =>
      attempt(async () => {
        await settle()
        await handle.sync()
        const { size } = await handle.stat()
        if (size !== written) throw new HakuError('storage.unavailable', `${temporary} has ${size} bytes after ${written} were written. Check the shared storage.`)
        await close()
      }),
    commit: (key) =>
      attempt(async () => {
        await renameNew(temporary, target(key))
        await syncDirectory()
      }),
    async abort() {
      await flight.catch(() => undefined)
      await close().catch(() => undefined)
      await unlinkIfThere(temporary)
    },
  }
}

async function writeAll(handle: FileHandle, buffers: Uint8Array[], position: number): Promise<void> {
  const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
  const { bytesWritten } = await handle.writev(buffers, position)
  if (bytesWritten < total) {
    // A full disk may take part of a write first and refuse the rest: the second try brings the reason.
    await writeAll(handle, [Buffer.concat(buffers).subarray(bytesWritten)], position + bytesWritten)
  }
}

/** Renames without replacing: a hard link refuses an existing name. Without hard links a look before has to do. */
async function renameNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
    await unlink(from)
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === 'EEXIST') throw exists(to, error)
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'EMLINK') throw error
    if ((await sizeOf(to)) !== undefined) throw exists(to, error)
    await rename(from, to)
  }
}

function exists(path: string, cause: unknown): HakuError {
  return new HakuError('environment.busy', `${path} exists already. Does another Host write to the same shared directory?`, { cause })
}

async function openFile(directory: string, key: string, range: { start: number; end: number } | undefined): Promise<Readable> {
  const handle = await openFresh(join(directory, key)).catch(async (error: unknown) => {
    if (systemErrorCode(error) !== 'ENOENT') throw error
    await access(directory)
    throw new HakuError('tarball.not_found', `${key} is not in ${directory}. Was it removed? "hakuriver.docker list-tars" shows what there is.`, { cause: error })
  })
  return handle.createReadStream({ highWaterMark: READ_BYTES, ...(range && { start: range.start, end: range.end - 1 }) })
}

/** A stale NFS handle is gone with the next open. */
async function openFresh(file: string, tries = 3): Promise<FileHandle> {
  try {
    return await open(file, 'r')
  } catch (error) {
    if (systemErrorCode(error) === 'ESTALE' && tries > 1) return openFresh(file, tries - 1)
    throw error
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function unlinkIfThere(file: string): Promise<void> {
  try {
    await unlink(file)
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error
  }
}

/** What a file system says, in the words of the storage. */
function storageError(directory: string, error: unknown): unknown {
  const code = systemErrorCode(error)
  if (error instanceof HakuError || code === undefined) return error
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new HakuError('storage.full', `The shared storage at ${directory} is full (${code}). Free some space; nothing of what was there has changed.`, { cause: error })
  }
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new HakuError('storage.unavailable', `The directory ${directory} does not exist. Is the shared directory mounted? See paths.shared_dir.`, { cause: error })
  }
  const cure = code === 'EROFS' ? 'It is mounted read-only.' : code === 'EACCES' || code === 'EPERM' ? 'Check its owner and mode.' : 'Check the shared storage.'
  return new HakuError('storage.unavailable', `The shared storage at ${directory} can not be used: ${errorMessage(error)}. ${cure}`, { cause: error })
}
