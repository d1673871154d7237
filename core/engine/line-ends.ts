/** Finds the ends of lines that an Engine's log leaves out, in the frames of one channel. */
export interface LineEnds {
  /** A frame begins. @returns whether an end of line is missing before what follows */
  open(time: string, length: number): boolean
  /** It ends with these bytes. */
  close(bytes: Buffer): void
}

export const END_OF_LINE = Buffer.from('\n')

/** Longer lines come in pieces of this length. */
const PIECE_BYTES = 16 * 1024

/**
 * Engines before 23 leave out the end of line behind the last piece of a line that is longer than a piece. All pieces of a
 * line have the time of the first one. Where the last piece is the last thing in the log, nobody can tell whether it had an end.
 */
export function createLineEnds(): LineEnds {
  /** Of the frame before. */
  let last = { time: '', isFull: false, hasEnd: true }
  let length = 0
  let isContinued = false
  return {
    open(time, nextLength) {
      isContinued = !last.hasEnd && last.time === time
      // A piece of nothing is the end of line alone.
      const isMissing = (!last.hasEnd && !isContinued) || (isContinued && !last.isFull) || (isContinued && nextLength === 0)
      length = nextLength
      last = { time, isFull: false, hasEnd: length === 0 }
      return isMissing
    },
    close(bytes) {
      last = { ...last, isFull: length === PIECE_BYTES, hasEnd: bytes.at(-1) === END_OF_LINE[0] }
    },
  }
}
