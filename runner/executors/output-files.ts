import { constants } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Execution } from '#core/api/schemas.ts'
import type { OutputChunk } from '#core/engine/demultiplex.ts'
import { HakuError, errorMessage, systemErrorCode } from '#core/errors.ts'
import type { SharedPaths } from '#core/paths.ts'
import { assertMark } from '#core/shared-directory.ts'
import { type OutputChannel, outputChannels } from '#core/tasks/channels.ts'

export type Positions = Record<OutputChannel, number>

/**
 * The two output files of an execution. Their sizes are the position: what is in them was kept, so that whoever goes on later
 * skips that much of the output. What is longer than its limit is cut off there with a mark, and the rest goes nowhere.
 */
export interface OutputFiles {
  /** Bytes of the output in each file. */
  readonly positions: Readonly<Positions>
  /** Bytes in each file, its mark included. */
  readonly sizes: Readonly<Positions>
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
  /** Bytes that each may have; `null`: any. */
  maxBytes: number | null
}

/** The storage took bytes and lost them afterwards: nothing says which, so all of them are written again. */
export class LateWriteError extends HakuError {
  constructor(reason: HakuError) {
    super(reason.code, reason.message, { cause: reason })
  }
}

/** Opens the files, and makes them if they are not there. The shared directory itself is never made. @throws `storage.unavailable`, `storage.full` */
export async function openOutputFiles(paths: SharedPaths, { id, instance }: Execution, { from, maxBytes }: OpenOptions): Promise<OutputFiles> {
  const names: Record<OutputChannel, string> = { stdout: paths.stdout(id, instance), stderr: paths.stderr(id, instance) }
  const handles: Partial<Record<OutputChannel, FileHandle>> = {}
  try {
    // Below a mount point without its mount everything could be written, and nobody would ever find it.
    await assertMark(paths.mark)
    const stdout = (handles.stdout = await openFile(names.stdout, from))
    const stderr = (handles.stderr = await openFile(names.stderr, from))
    const sizes = from === 'end' ? { stdout: (await stdout.stat()).size, stderr: (await stderr.stat()).size } : { stdout: 0, stderr: 0 }
    return createFiles({ stdout, stderr }, names, sizes, maxBytes)
  } catch (error) {
    await handles.stdout?.close()
    await handles.stderr?.close()
    throw storageError(error, names.stdout)
  }
}

// --- internal ---


/** Its length follows from the limit, so a file shows how much of it is there. */
function markOf(maxBytes: number): Buffer {
  return Buffer.from(`\n[hakuriver] The output is longer than ${maxBytes} bytes, the limit set by logs.max_bytes. The rest was cut off here.\n`)
}

function createFiles(handles: Record<OutputChannel, FileHandle>, names: Record<OutputChannel, string>, sizes: Positions, maxBytes: number | null): OutputFiles {
  const limit = maxBytes ?? Infinity
  const mark = maxBytes === null ? Buffer.alloc(0) : markOf(maxBytes)
  const written = { stdout: false, stderr: false }
  let closed = false

  async function append(channel: OutputChannel, bytes: readonly Uint8Array[]): Promise<void> {
    let buffers: readonly Uint8Array[] = bytes
    while (buffers.length > 0) {
      const length = lengthOf(buffers)
      written[channel] = true
      const { bytesWritten } = await handles[channel].writev(buffers, sizes[channel])
      sizes[channel] += bytesWritten
      // A disk that is nearly full takes a part, and refuses the next part with the reason.
      buffers = bytesWritten === length ? [] : [Buffer.concat(buffers).subarray(bytesWritten)]
    }
  }

  async function writeAll(channel: OutputChannel, chunks: OutputChunk[]): Promise<void> {
    const buffers = chunks.filter((chunk) => chunk.channel === channel && chunk.bytes.length > 0).map(({ bytes }) => bytes)
    if (buffers.length === 0) return
    const room = Math.max(0, limit - sizes[channel])
    if (lengthOf(buffers) <= room) return append(channel, buffers)
    if (room > 0) await append(channel, [Buffer.concat(buffers).subarray(0, room)])
    const rest = mark.subarray(sizes[channel] - limit)
    if (rest.length > 0) await append(channel, [rest])
  }

  async function flush(channel: OutputChannel): Promise<void> {
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
    sizes,
    get positions() {
      return { stdout: Math.min(sizes.stdout, limit), stderr: Math.min(sizes.stderr, limit) }
    },
    async write(chunks) {
      for (const channel of outputChannels) {
        await writeAll(channel, chunks).catch((error: unknown) => {
          throw storageError(error, names[channel])
        })
      }
    },
    async finish() {
      try {
        for (const channel of outputChannels) await flush(channel)
      } finally {
        await close()
      }
    },
    close,
  }
}

function lengthOf(buffers: readonly Uint8Array[]): number {
  return buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
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
