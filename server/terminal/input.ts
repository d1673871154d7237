import type { RawData, WebSocket } from 'ws'
import { z } from 'zod'
import { channels, closeCodes, decodeFrame, MAX_FRAME_BYTES } from '#core/terminal/protocol.ts'
import type { Shell } from './shell.ts'

/** A message that no honest client sends. */
export class BadMessage extends Error {
  readonly closeCode: number

  constructor(closeCode: number, reason: string) {
    super(reason)
    this.closeCode = closeCode
  }
}

/**
 * Passes on what the client types, in order and at the pace of the shell: while the shell does not read, the socket is
 * paused. `onBad` is called at most once, and nothing is taken after it.
 */
export function acceptInput(socket: WebSocket, shell: Shell, { tty, onBad }: { tty: boolean; onBad: (bad: BadMessage) => void }): void {
  const { stream } = shell.session
  const resizeLater = createResizer(shell)
  let hasEnded = false

  const write = (bytes: Buffer) => {
    if (hasEnded) throw new BadMessage(closeCodes.badMessage, 'input after its end')
    // After the shell's own end nobody reads any more.
    if (!stream.writable || stream.write(bytes)) return
    socket.pause()
    stream.once('drain', () => socket.resume())
  }
  const obey = (control: Control) => {
    if (control.type === 'resize') return resizeLater(control)
    if (tty) write(END_OF_TRANSMISSION)
    else stream.end()
    hasEnded = true
  }
  const onMessage = (data: RawData, isBinary: boolean) => {
    try {
      if (isBinary) write(inputOf(data as Buffer))
      else obey(controlOf(data as Buffer))
    } catch (error) {
      socket.off('message', onMessage)
      onBad(error instanceof BadMessage ? error : new BadMessage(closeCodes.failed, 'the input could not be passed on'))
    }
  }
  socket.on('message', onMessage)
}

interface Size {
  columns?: unknown
  rows?: unknown
}

/** Tells the terminal its size. A shell that has just ended has none. */
export async function resize(shell: Shell, size: Size): Promise<void> {
  const [columns, rows] = [clampSize(size.columns), clampSize(size.rows)]
  if (columns === undefined || rows === undefined) return
  await shell.session.resize(columns, rows).catch(() => undefined)
}

// --- internal ---

const END_OF_TRANSMISSION = Buffer.from([4])
const MAX_SIZE = 10_000

const controlSchema = z.discriminatedUnion('type', [
  // What a browser measures may be anything; a bad size is no reason to end a session.
  z.object({ type: z.literal('resize'), columns: z.unknown(), rows: z.unknown() }),
  z.object({ type: z.literal('end') }),
])
type Control = z.infer<typeof controlSchema>

/** One call at a time, and only the newest size, so that the last one wins however fast they come. */
function createResizer(shell: Shell): (size: Size) => void {
  let wanted: Size | undefined
  let isBusy = false
  const work = async () => {
    isBusy = true
    while (wanted) {
      const size = wanted
      wanted = undefined
      await resize(shell, size)
    }
    isBusy = false
  }
  return (size) => {
    wanted = size
    if (!isBusy) void work()
  }
}

function inputOf(data: Buffer): Buffer {
  if (data.length > MAX_FRAME_BYTES) throw new BadMessage(closeCodes.tooBig, `a message may have ${MAX_FRAME_BYTES} bytes at most`)
  const frame = decodeFrame(data)
  if (frame?.channel !== channels.stdin) throw new BadMessage(closeCodes.badMessage, 'a binary message must begin with the channel of the input')
  return frame.bytes
}

function controlOf(data: Buffer): Control {
  try {
    return controlSchema.parse(JSON.parse(data.toString()))
  } catch (error) {
    throw new BadMessage(closeCodes.badMessage, error instanceof SyntaxError ? 'a text message must be JSON' : 'unknown message type')
  }
}

function clampSize(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? Math.min(Math.max(Math.round(value), 1), MAX_SIZE) : undefined
}
