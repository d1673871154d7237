import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { errorMessage, HakuError, systemErrorCode } from '../errors.ts'

/** Reads what a task has printed: on the Host, and on a node whose Host does not see the shared directory. */

/** Headers of an answer with output: it may begin elsewhere than at byte 0 of the first execution. */
export const outputHeaders = { offset: 'hakuriver-offset', instance: 'hakuriver-instance' } as const

/** From byte `offset`, up to byte `end` if given; or so many lines or bytes from the end. */
export interface OutputPart {
  offset?: number | undefined
  end?: number | undefined
  tail?: number | undefined
  last?: number | undefined
}

export interface OpenOutput {
  /** Where {@link bytes} begins. */
  offset: number
  /** Of the whole output, when it was opened. */
  size: number
  /** Up to {@link size} at most. Must be read to its end or destroyed: that closes the file. */
  bytes: Readable
}

const BLOCK_BYTES = 64 * 1024
/** Lines are looked for in so much of the end; of longer ones the beginning is missing. */
const MAX_TAIL_BYTES = 256 * 1024 * 1024

/**
 * Opens an output. Resolves to `undefined` if there is none (yet).
 *
 * @throws `storage.unavailable`
 */
export async function openOutput(file: string, part: OutputPart): Promise<OpenOutput | undefined> {
  let handle: FileHandle | undefined
  try {
    // Others may write in that directory: neither links nor pipes are outputs.
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = await handle.stat()
    if (!stats.isFile()) throw new Error('it is not a file')
    const { size } = stats
    const start = await findStart(handle, size, part)
    const end = Math.min(part.end ?? size, size)
    if (start < end) return { offset: start, size, bytes: handle.createReadStream({ start, end: end - 1, highWaterMark: BLOCK_BYTES }) }
    await handle.close()
    return { offset: start, size, bytes: Readable.from([]) }
  } catch (error) {
    await handle?.close()
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw new HakuError('storage.unavailable', `The output ${file} can not be read: ${errorMessage(error)}.`, { cause: error })
  }
}

// --- internal ---

async function findStart(handle: FileHandle, size: number, { offset = 0, tail, last }: OutputPart): Promise<number> {
  if (tail !== undefined) return findTail(handle, size, tail)
  return last === undefined ? Math.min(offset, size) : Math.max(0, size - last)
}

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
