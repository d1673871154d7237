import { setTimeout } from 'node:timers/promises'
import { errorMessage, systemErrorCode } from '#core/errors.ts'

/** Programs that write down what others do go on in spite of a full disk: it may have room later, and until then nothing may be forgotten. */

export interface OutputFile {
  /** For messages. */
  file: string
  /** What it has already. */
  size: number
  /** One more is kept, which tells that there was more; the rest goes nowhere. `null`: no limit. */
  maxBytes: number | null
  /** @returns how much was written */
  write(bytes: Uint8Array): number | Promise<number>
}

/** A function that writes what was printed, and resolves when all of it is written: whoever prints waits for a full disk. */
export function createOutputWriter({ file, size, maxBytes, write }: OutputFile): (chunk: Buffer) => Promise<void> {
  let room = maxBytes === null ? Infinity : maxBytes + 1 - size
  let problem: string | undefined

  /** Once: the disk that the log is on is full. */
  function complain(message: string): void {
    if (message !== problem) console.error(`${file}: ${message}`)
    problem = message
  }

  return async (chunk) => {
    for (let rest = chunk.subarray(0, Math.min(room, chunk.length)); rest.length > 0; ) {
      try {
        const written = await write(rest)
        room -= written
        rest = rest.subarray(written)
      } catch (error) {
        complain(errorMessage(error))
        await setTimeout(RETRY_MS)
      }
    }
  }
}

/** Repeats `write` until it has worked. */
export async function untilWritten(write: () => void): Promise<void> {
  for (;;) {
    try {
      return write()
    } catch (error) {
      // Nobody waits for it: the directory was removed.
      if (systemErrorCode(error) === 'ENOENT') return
      console.error(errorMessage(error))
    }
    await setTimeout(RETRY_MS)
  }
}

// --- internal ---

const RETRY_MS = 1000
