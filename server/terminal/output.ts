import type { WebSocket } from 'ws'
import type { OutputChunk } from '#core/engine/demultiplex.ts'
import { channels } from '#core/terminal/protocol.ts'
import { peekExitCode, type Shell } from './shell.ts'

/**
 * Sends all that the shell prints, at the pace of the client: nothing is dropped, and only little is held. Resolves once the
 * output has ended and was handed to the socket; rejects with the stream's error.
 */
export function sendOutput(socket: WebSocket, shell: Shell): Promise<void> {
  const { stream } = shell.session
  const brake = createBrake(socket, shell)
  const send = (chunks: readonly OutputChunk[]) => {
    for (const { channel, pieces } of groupByChannel(chunks)) sendPieces(socket, channel, pieces, brake.release)
  }
  return new Promise<void>((resolve, reject) => {
    if (stream.destroyed) return stream.errored ? reject(stream.errored) : resolve()
    stream.on('data', (piece: Buffer) => {
      try {
        send(shell.split(piece))
        brake.apply()
      } catch (error) {
        stream.destroy(error as Error)
      }
    })
    stream.on('end', resolve).on('close', resolve).on('error', reject)
    send(shell.head)
    stream.resume()
  }).finally(brake.stop)
}

// --- internal ---

/**
 * One message in fragments: its channel, then the pieces as the Engine sent them. Nothing is copied, so nothing but what the
 * Engine sent is left to the garbage collector.
 */
function sendPieces(socket: WebSocket, channel: OutputChunk['channel'], pieces: readonly Buffer[], sent: () => void): void {
  socket.send(CHANNEL_BYTES[channel], { binary: true, fin: false })
  for (const [index, piece] of pieces.entries()) socket.send(piece, { binary: true, fin: index === pieces.length - 1 }, sent)
}

const CHANNEL_BYTES = { stdout: Buffer.of(channels.stdout), stderr: Buffer.of(channels.stderr) }

/** Neighbours of one channel go in one message: an Engine sends pieces of 32 KiB at most, and each message has its price. */
function groupByChannel(chunks: readonly OutputChunk[]): { channel: OutputChunk['channel']; pieces: Buffer[] }[] {
  const groups: { channel: OutputChunk['channel']; pieces: Buffer[] }[] = []
  for (const { channel, bytes } of chunks) {
    const last = groups.at(-1)
    if (last?.channel === channel) last.pieces.push(bytes)
    else groups.push({ channel, pieces: [bytes] })
  }
  return groups
}

/** Output is held back above the one and goes on below the other. The kernel's buffers come on top. */
const HIGH_WATER_BYTES = 512 * 1024
const LOW_WATER_BYTES = 128 * 1024
const ENDED_CHECK_MS = 400
/** More than an Engine and a pipe hold of a process that has ended. */
const ENDED_HIGH_WATER_BYTES = 4 * 1024 * 1024

/**
 * Holds the shell's output back while the client is slow.
 *
 * An Engine throws away what a process has left in its pipe two seconds after the process ended (seen with 20.10), so while
 * output is held back the process is watched, and what it leaves is taken in at once.
 */
function createBrake(socket: WebSocket, shell: Shell) {
  const { stream } = shell.session
  let highWater = HIGH_WATER_BYTES
  let isHolding = false
  let heldSinceCheck = false
  let watch: NodeJS.Timeout | undefined

  const resume = () => {
    isHolding = false
    stream.resume()
  }
  const check = async () => {
    if (!heldSinceCheck) return stop()
    heldSinceCheck = isHolding
    if ((await peekExitCode(shell.session)) === undefined) return
    stop()
    highWater = ENDED_HIGH_WATER_BYTES
    resume()
  }
  const stop = () => {
    clearInterval(watch)
    watch = undefined
  }

  return {
    /** To be called when something was sent. */
    apply() {
      if (isHolding || socket.bufferedAmount <= highWater) return
      isHolding = true
      heldSinceCheck = true
      stream.pause()
      // The Engine's trouble shows in the stream itself.
      if (highWater === HIGH_WATER_BYTES) watch ??= setInterval(() => void check().catch(() => undefined), ENDED_CHECK_MS)
    },
    /** To be called when something has left. */
    release() {
      if (isHolding && socket.bufferedAmount <= LOW_WATER_BYTES) resume()
    },
    stop,
  }
}
