import type { Readable } from 'node:stream'
import { HakuError } from '../errors.ts'
import { printable } from '../names.ts'
import type { OutputChannel } from '../tasks/channels.ts'
import { createLineEnds, END_OF_LINE, type LineEnds } from './line-ends.ts'

/** A piece of the output of a process without a terminal. */
export interface OutputChunk {
  channel: OutputChannel
  /** A view of what came from the Engine: copy it to keep it. */
  bytes: Buffer
}

export interface Demultiplexer {
  /**
   * The output in the next piece of the stream. Parts of a frame come out as they arrive. What comes before something
   * corrupt still comes out: then the next call throws.
   *
   * @throws `engine.failed`
   */
  push(piece: Buffer): OutputChunk[]
  /** Tells that the stream has ended. @throws `engine.unavailable` if it ended in the middle of a frame; `engine.failed` */
  end(): void
}

export interface DemultiplexOptions {
  /** The stream is a log with times: see {@link Engine.readLogs}. */
  isLog?: boolean
}

/**
 * Takes apart the two outputs in an Engine's stream: frames of `[channel, 0, 0, 0, length as 32 bit big-endian]` and bytes.
 * Copies nothing. For a consumer that works with events; others use {@link demultiplex}.
 */
export function createDemultiplexer({ isLog = false }: DemultiplexOptions = {}): Demultiplexer {
  const state: _State = { header: Buffer.alloc(HEADER_BYTES), headerLength: 0, channel: 1, remaining: 0, systemError: '', failure: undefined, log: isLog ? { stdout: createLineEnds(), stderr: createLineEnds() } : undefined, time: undefined }
  return {
    push: (piece) => _push(state, piece),
    end() {
      if (state.failure) throw state.failure
      if (state.headerLength > 0 || state.remaining > 0) throw new HakuError('engine.unavailable', 'The output ended in the middle of a frame. Was the Docker daemon stopped?')
    },
  }
}

/**
 * The output in the Engine's multiplexed `stream`, at the pace of the consumer; leaving the loop destroys the stream.
 *
 * @throws `engine.failed` on a corrupt frame or when the Engine reports an error in the stream; `engine.unavailable` if the
 *   stream ends in the middle of a frame
 */
export async function* demultiplex(stream: Readable, options?: DemultiplexOptions): AsyncGenerator<OutputChunk, void, undefined> {
  const demultiplexer = createDemultiplexer(options)
  for await (const piece of stream as AsyncIterable<Buffer>) {
    yield* demultiplexer.push(piece)
  }
  demultiplexer.end()
}

// --- internal ---

const HEADER_BYTES = 8
const SYSTEM_ERROR = 3
const SPACE = 0x20

interface _State {
  header: Buffer
  headerLength: number
  channel: number
  /** Bytes of the present frame that are still to come. */
  remaining: number
  systemError: string
  failure: HakuError | undefined
  log: Record<OutputChunk['channel'], LineEnds> | undefined
  /** What came of the time at the beginning of the present frame of a log; `undefined`: it is over. */
  time: string | undefined
}

function _push(state: _State, piece: Buffer): OutputChunk[] {
  const chunks: OutputChunk[] = []
  let offset = 0
  while (offset < piece.length && !state.failure) {
    if (state.remaining === 0) {
      offset += _takeHeader(state, piece, offset)
    } else {
      const bytes = piece.subarray(offset, offset + state.remaining)
      offset += bytes.length
      state.remaining -= bytes.length
      _takeBytes(state, bytes, chunks)
    }
  }
  if (state.failure && chunks.length === 0) throw state.failure
  return chunks
}

function _takeHeader(state: _State, piece: Buffer, offset: number): number {
  const taken = piece.copy(state.header, state.headerLength, offset, offset + HEADER_BYTES - state.headerLength)
  state.headerLength += taken
  if (state.headerLength === HEADER_BYTES) _openFrame(state)
  return taken
}

function _openFrame(state: _State): void {
  const { header } = state
  const channel = header.readUInt8(0)
  if (channel > SYSTEM_ERROR || header.readUIntBE(1, 3) !== 0) {
    state.failure = new HakuError('engine.failed', `The Docker Engine sent a corrupt frame (header ${header.toString('hex')}). Has the process a terminal?`)
    return
  }
  state.channel = channel
  state.remaining = header.readUInt32BE(4)
  state.headerLength = 0
  if (state.log && channel !== SYSTEM_ERROR) state.time = ''
}

function _takeBytes(state: _State, bytes: Buffer, chunks: OutputChunk[]): void {
  if (state.channel === SYSTEM_ERROR) {
    state.systemError += bytes.toString()
    if (state.remaining === 0) state.failure = new HakuError('engine.failed', `The Docker Engine stopped sending the output: ${printable(state.systemError.trim())}`)
    return
  }
  // Channel 0 is "stdin", which the Engine itself counts as output.
  const channel = state.channel === 2 ? 'stderr' : 'stdout'
  const rest = state.time === undefined ? bytes : _takeTime(state, state.time, bytes, channel, chunks)
  if (rest.length > 0) chunks.push({ channel, bytes: rest })
  if (rest.length > 0 && state.remaining === 0) state.log?.[channel].close(rest)
}

/** @returns what is behind it */
function _takeTime(state: _State, before: string, bytes: Buffer, channel: OutputChunk['channel'], chunks: OutputChunk[]): Buffer {
  const end = bytes.indexOf(SPACE)
  const time = before + bytes.toString('latin1', 0, end < 0 ? bytes.length : end)
  state.time = end < 0 ? time : undefined
  if (end < 0) return bytes.subarray(bytes.length)
  const rest = bytes.subarray(end + 1)
  if (state.log?.[channel].open(time, rest.length + state.remaining)) chunks.push({ channel, bytes: END_OF_LINE })
  return rest
}
