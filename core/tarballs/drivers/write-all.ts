import type { FileHandle } from 'node:fs/promises'

/**
 * One write to the page cache takes so much. Not more: for larger ones Linux 6 looks for contiguous memory, and on a virtual
 * machine that is memory nobody touched yet: 640 MB took 0.3 s in writes of 64 KiB, 0.5 s of 128 KiB and 1.6 s of 1 MiB.
 */
export const WRITE_BYTES = 128 * 1024
const PARALLEL_WRITES = 4

/** Writes the whole chunk at a position. When it rejects nothing is under way any more, so that the handle may be closed. */
export async function writeAll(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let start = 0; start < chunk.length; start += WRITE_BYTES * PARALLEL_WRITES) {
    const starts = Array.from({ length: PARALLEL_WRITES }, (_, index) => start + index * WRITE_BYTES).filter((at) => at < chunk.length)
    await settleAll(starts.map((at) => writePiece(handle, chunk.subarray(at, at + WRITE_BYTES), position + at)))
  }
}

// --- internal ---

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
