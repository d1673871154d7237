import { constants } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { OutputChunk } from '#core/engine/demultiplex.ts'
import { HakuError, errorMessage, systemErrorCode } from '#core/errors.ts'
import type { SharedPaths } from '#core/paths.ts'
import { assertMark } from '#core/shared-directory.ts'

export type Channel = OutputChunk['channel']
export type Positions = Record<Channel, number>

/**
 * The two output files of a task. Their sizes are the position: what is in them was kept, so that whoever goes on later
 * skips that much of the container's log.
 */
export interface OutputFiles {
  /** Bytes in each file. */
  readonly positions: Readonly<Positions>
  /** @throws `storage.full`, `storage.unavailable`; what was written up to then is counted */
  write(chunks: OutputChunk[]): Promise<void>
  /** Resolves once every byte is where it belongs, and closes. @throws {@link LateWriteError}: an NFS server may refuse late */
  finish(): Promise<void>
  /** Lets go without waiting for anything. Idempotent. */
  close(): Promise<void>
}

export interface OpenOptions {
  /** `empty`: a task that begins. `end`: go on. `start`: write all again over what is there. */
  from: 'empty' | 'end' | 'start'
}

/** The storage took bytes and lost them afterwards: nothing says which, so all of them are written again. */
export class LateWriteError extends HakuError {
  constructor(reason: HakuError) {
    super(reason.code, reason.message, { cause: reason })
  }
}

/** Opens the files, and makes them if they are not there. The shared directory itself is never made. @throws `storage.unavailable`, `storage.full` */
export async function openOutputFiles(paths: SharedPaths, taskId: string, { from }: OpenOptions): Promise<OutputFiles> {
  const names: Record<Channel, string> = { stdout: paths.stdout(taskId), stderr: paths.stderr(taskId) }
  const handles: Partial<Record<Channel, FileHandle>> = {}
  try {
    // Below a mount point without its mount everything could be written, and nobody would ever find it.
    await assertMark(paths.mark)
    const stdout = (handles.stdout = await openFile(names.stdout, from))
    const stderr = (handles.stderr = await openFile(names.stderr, from))
    const positions = from === 'end' ? { stdout: (await stdout.stat()).size, stderr: (await stderr.stat()).size } : { stdout: 0, stderr: 0 }
    return createFiles({ stdout, stderr }, names, positions)
  } catch (error) {
    await handles.stdout?.close()
    await handles.stderr?.close()
    throw storageError(error, names.stdout)
  }
}

// --- internal ---

const CHANNELS: readonly Channel[] = ['stdout', 'stderr']

function createFiles(handles: Record<Channel, FileHandle>, names: Record<Channel, string>, positions: Positions): OutputFiles {
  const written = { stdout: false, stderr: false }
  let closed = false

  async function writeAll(channel: Channel, chunks: OutputChunk[]): Promise<void> {
    let buffers: Uint8Array[] = chunks.filter((chunk) => chunk.channel === channel && chunk.bytes.length > 0).map(({ bytes }) => bytes)
    while (buffers.length > 0) {
      const length = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
      written[channel] = true
      const { bytesWritten } = await handles[channel].writev(buffers, positions[channel])
      positions[channel] += bytesWritten
      // A disk that is nearly full takes a part, and refuses the next part with the reason.
      buffers = bytesWritten === length ? [] : [Buffer.concat(buffers).subarray(bytesWritten)]
    }
  }

  async function flush(channel: Channel): Promise<void> {
    if (!written[channel]) return
    await handles[channel].datasync().catch((error: unknown) => {
      throw new LateWriteError(storageError(error, names[channel]))
    })
  }

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    await Promise.allSettled([handles.stdout.close(), handles.stderr.close()])
  }

  return {
    positions,
    async write(chunks) {
      for (const channel of CHANNELS) {
        await writeAll(channel, chunks).catch((error: unknown) => {
          throw storageError(error, names[channel])
        })
      }
    },
    async finish() {
      try {
        for (const channel of CHANNELS) await flush(channel)
      } finally {
        await close()
      }
    },
    close,
  }
}

const FLAGS: Record<OpenOptions['from'], number> = {
  empty: constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
  end: constants.O_WRONLY | constants.O_CREAT,
  start: constants.O_WRONLY | constants.O_CREAT,
}

async function openFile(file: string, from: OpenOptions['from']): Promise<FileHandle> {
  try {
    return await open(file, FLAGS[from], 0o644)
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error
    await mkdir(dirname(file)).catch((failure: unknown) => {
      if (systemErrorCode(failure) !== 'EEXIST') throw failure
    })
    return open(file, FLAGS[from], 0o644)
  }
}

function storageError(error: unknown, file: string): HakuError {
  if (error instanceof HakuError) return error
  const code = systemErrorCode(error) ?? ''
  if (code === 'ENOSPC' || code === 'EDQUOT') return new HakuError('storage.full', `The output ${file} can not be written: the shared directory is full. Free some space there.`, { cause: error })
  return new HakuError('storage.unavailable', `The output ${file} can not be written: ${errorMessage(error)}. Is the shared directory mounted, and may this user write there?`, { cause: error })
}
