/**
 * The wire of a shell: one WebSocket, binary frames for bytes, text frames (JSON) for control.
 *
 * - A binary frame is one channel byte, then raw bytes, never decoded, so a character may be cut at any border.
 *   Client → Host: `STDIN`. Host → client: `STDOUT`, `STDERR` (a terminal has only `STDOUT`).
 * - A text frame is one JSON object: see {@link ClientControl} and {@link HostControl}.
 * - Client → Host frames are at most {@link MAX_FRAME_BYTES} long; longer input is sent in several.
 * - The Host pings. Any frame of the client shows that it lives, a ping of its own too: a client that stops reading for long
 *   (its output is held back) cannot answer pings, so it MUST ping itself, at least every 15 s.
 *
 * With the query `tty=true&columns=&rows=` the shell has a terminal; with `tty=false` it has pipes.
 */
export const channels = { stdin: 0, stdout: 1, stderr: 2 } as const
export type Channel = (typeof channels)[keyof typeof channels]

export const MAX_FRAME_BYTES = 64 * 1024

/** The WebSocket sub-protocol that must be asked for and is confirmed. */
export const TERMINAL_PROTOCOL = 'hakuriver.terminal.v1'
/** A browser can not set headers: it may send its credential as a second sub-protocol with this prefix instead. */
export const TOKEN_PROTOCOL_PREFIX = 'hakuriver.token.'

export type ClientControl =
  | { type: 'resize'; columns: number; rows: number }
  /** The client's input has ended (a pipe): the shell sees end of file. */
  | { type: 'end' }

export type HostControl =
  /** The shell runs. Input sent before is kept. */
  | { type: 'started' }
  /** The shell ended by itself; the Host closes with 1000 after this. */
  | { type: 'exit'; exitCode: number }
  /** The shell could not go on. `code` is one of `core/errors`. The Host closes after this. */
  | { type: 'error'; code: string; detail: string }

/** Close codes of the Host beyond RFC 6455's own meaning. */
export const closeCodes = { normal: 1000, badMessage: 1008, tooBig: 1009, failed: 1011, restarting: 1012 } as const

/** One binary frame. Copies `bytes`. */
export function encodeFrame(channel: Channel, bytes: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(bytes.length + 1)
  frame[0] = channel
  frame.set(bytes, 1)
  return frame
}

/** Channel and bytes of a binary frame; the bytes are a view. `undefined` if the frame is empty or the channel unknown. */
export function decodeFrame(frame: Buffer): { channel: Channel; bytes: Buffer } | undefined {
  const channel = frame[0]
  if (channel !== channels.stdin && channel !== channels.stdout && channel !== channels.stderr) return undefined
  return { channel, bytes: frame.subarray(1) }
}
