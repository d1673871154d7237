import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from '../errors.ts'

/** Reads what a task has printed: on the Host, and on a node whose Host does not see the shared directory. */

/** Headers of an answer with output: it may begin elsewhere than at byte 0 of the first execution. */
export const outputHeaders = { offset: 'hakuriver-offset', instance: 'hakuriver-instance' } as const

export interface OutputPart {
  /** First byte, or so many lines from the end instead. */
  offset: number
  tail?: number | undefined
}

export interface OpenOutput {
  /** Where {@link bytes} begins. */
  offset: number
  /** Of the whole output, when it was opened. */
  size: number
  /** Up to {@link size}. Must be read or ended: that closes the file. */
  bytes: AsyncGenerator<Buffer, void, undefined>
}

const BLOCK_BYTES = 64 * 1024
/** Lines are looked for in so much of the end; of longer ones the beginning is missing. */
const MAX_TAIL_BYTES = 256 * 1024 * 1024

/**
 * Opens an output. Resolves to `undefined` if there is none (yet).
 *
 * @throws `storage.unavailable`
 */
export async function openOutput(file: string, { offset, tail }: OutputPart): Promise<OpenOutput | undefined> {
  let handle: FileHandle | undefined
  try {
    // Others may write in that directory: neither links nor pipes are outputs.
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = await handle.stat()
    if (!stats.isFile()) throw new Error('it is not a file')
    const { size } = stats
    const start = tail === undefined ? Math.min(offset, size) : await findTail(handle, size, tail)
    return { offset: start, size, bytes: readBytes(handle, start, size) }
  } catch (error) {
    await handle?.close()
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw new HakuError('storage.unavailable', `The output ${file} can not be read: ${errorMessage(error)}.`, { cause: error })
  }
}

// --- internal ---

/** Where the last `lines` lines begin, looked for from the end. The end of the last line is no line. */
async function findTail(handle: FileHandle, size: number, lines: number): Promise<number> {
  if (lines === 0) return size
  const floor = Math.max(0, size - MAX_TAIL_BYTES)
  const block = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, size))
  let left = lines
  for (let end = size; end > floor; ) {
    const start = Math.max(floor, end - BLOCK_BYTES)
    const { bytesRead } = await handle.read(block, 0, end - start, start)
    const bytes = block.subarray(0, bytesRead)
    let from = end === size && bytes.at(-1) === NEWLINE ? bytesRead - 2 : bytesRead - 1
    for (let index: number; from >= 0 && (index = bytes.lastIndexOf(NEWLINE, from)) >= 0; from = index - 1) {
      if (--left === 0) return start + index + 1
    }
    end = start
  }
  return floor
}

const NEWLINE = 0x0a

async function* readBytes(handle: FileHandle, start: number, size: number): AsyncGenerator<Buffer, void, undefined> {
  try {
    for (let position = start; position < size; ) {
      const length = Math.min(BLOCK_BYTES, size - position)
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, position)
      // It was made shorter meanwhile.
      if (bytesRead === 0) return
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await handle.close()
  }
}
