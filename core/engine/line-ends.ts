import type { OutputChunk } from './demultiplex.ts'

type Channel = OutputChunk['channel']

/** Finds the ends of lines that an Engine's log leaves out. */
export interface LineEnds {
  /** A frame of this length begins. @returns whether an end of line is missing before what follows */
  open(channel: Channel, length: number): boolean
  /** It ends with these bytes. */
  close(channel: Channel, bytes: Buffer): void
}

export const END_OF_LINE = Buffer.from('\n')

/** Longer lines come in pieces of this length. */
const PIECE_BYTES = 16 * 1024

export function createLineEnds(): LineEnds {
  const states = { stdout: { length: 0, isPiece: false, isOwed: false }, stderr: { length: 0, isPiece: false, isOwed: false } }
  return {
    open(channel, length) {
      const state = states[channel]
      const isMissing = state.isOwed || (length === 0 && state.isPiece)
      states[channel] = { length, isPiece: length > 0 && state.isPiece, isOwed: false }
      return isMissing
    },
    close(channel, bytes) {
      const state = states[channel]
      const hasEnd = bytes.at(-1) === END_OF_LINE[0]
      state.isOwed = state.isPiece && !hasEnd && state.length < PIECE_BYTES
      state.isPiece = !hasEnd && state.length === PIECE_BYTES
    },
  }
}
