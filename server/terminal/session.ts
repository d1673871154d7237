import type { WebSocket } from 'ws'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { closeCodes, type HostControl } from '#core/terminal/protocol.ts'
import { endShell } from './end-shell.ts'
import { acceptInput, resize } from './input.ts'
import { sendOutput } from './output.ts'
import { peekExitCode, readExitCode, type Shell, startShell } from './shell.ts'

export interface TerminalInput {
  params: { name: string }
  query: { tty: boolean; columns: number; rows: number }
}

/** The part of `server/environments` that shells need. */
export interface ContainerFinder {
  /** @throws `container.not_found` for anything that HakuRiver did not make */
  find(name: string): Promise<{ id: string; status: string }>
}

export interface SessionOptions {
  engine: Pick<Engine, 'exec'>
  containers: ContainerFinder
  socket: WebSocket
  input: TerminalInput
  /** Fires when the Host stops. */
  stopping: AbortSignal
}

/**
 * One client and its shell, from the open socket to the end of both. Resolves once the shell has ended, by itself or because
 * its client is gone. Never rejects: whatever goes wrong is told to the client.
 */
export async function runSession(options: SessionOptions): Promise<void> {
  const { socket, stopping } = options
  const link = createLink(socket, stopping)
  // What the client sends before there is a shell waits in the kernel.
  socket.pause()
  try {
    const container = await findRunning(options)
    const shell = await startShell(options.engine, container.id, options.input.query)
    try {
      await converse(options, shell, link)
    } finally {
      shell.session.stream.destroy()
      if (link.isLost()) await endShell(options.engine, container.id, shell).catch((error: unknown) => logFailure(options, 'could not be ended', error))
    }
  } catch (error) {
    if (!isHakuError(error) || error.kind === 'internal') logFailure(options, 'failed', error)
    sendControl(socket, describe(error))
    socket.close(closeCodes.failed)
  } finally {
    socket.resume()
  }
}

// --- internal ---

/** The way to the client. */
interface Link {
  /** Aborts when the client will not get or send anything more. */
  lost: AbortSignal
  isLost(): boolean
  cut(closeCode: number, reason: string): void
}

function createLink(socket: WebSocket, stopping: AbortSignal): Link {
  const lost = new AbortController()
  const cut = (closeCode: number, reason: string) => {
    lost.abort()
    socket.close(closeCode, reason)
    // The client's part of the closing can only be heard on a socket that is read.
    socket.resume()
  }
  const onStop = () => cut(closeCodes.restarting, 'the Host is stopping')
  if (stopping.aborted) onStop()
  else stopping.addEventListener('abort', onStop, { once: true })
  socket.once('close', () => {
    stopping.removeEventListener('abort', onStop)
    lost.abort()
  })
  return { lost: lost.signal, isLost: () => lost.signal.aborted, cut }
}

async function findRunning({ containers, input: { params } }: SessionOptions): Promise<{ id: string }> {
  const container = await containers.find(params.name)
  if (container.status === 'running') return container
  throw new HakuError('container.not_running', `The container ${quote(params.name)} is not running but ${container.status}. Start it with "hakuriver.docker start-container ${params.name}".`)
}

/** Relays until the shell ends or the link is lost, then tells the client how it ended. */
async function converse({ socket, input: { query } }: SessionOptions, shell: Shell, link: Link): Promise<void> {
  if (query.tty) await resize(shell, query)
  sendControl(socket, { type: 'started' })
  acceptInput(socket, shell, { tty: query.tty, onBad: ({ closeCode, message }) => link.cut(closeCode, message) })
  socket.resume()
  const lost = new Promise<void>((resolve) => {
    if (link.isLost()) resolve()
    else link.lost.addEventListener('abort', () => resolve(), { once: true })
  })
  await Promise.race([sayGoodbye(socket, shell, link), lost])
}

async function sayGoodbye(socket: WebSocket, shell: Shell, link: Link): Promise<void> {
  await sendOutput(socket, shell).catch(async (error: unknown) => {
    // Input that the shell left unread breaks the stream at its end.
    if ((await peekExitCode(shell.session)) === undefined) throw error
  })
  if (link.isLost()) return
  const exitCode = await readExitCode(shell.session)
  await new Promise<void>((resolve) => sendControl(socket, { type: 'exit', exitCode }, resolve))
  // Only now: the time that a client has to answer a close runs from here, and it must have read everything before.
  socket.close(closeCodes.normal)
}

function sendControl(socket: WebSocket, control: HostControl, onSent?: () => void): void {
  // A socket that is closed can be told nothing; its close event says so.
  socket.send(JSON.stringify(control), () => onSent?.())
}

function logFailure({ input }: SessionOptions, what: string, error: unknown): void {
  console.error(`[hakuriver] [terminal] a shell in ${quote(input.params.name)} ${what}:`, error)
}

function describe(error: unknown): HostControl {
  const known = isHakuError(error) ? error : new HakuError('internal.error', 'An error inside HakuRiver. The log of the Host tells more.')
  return { type: 'error', code: known.code, detail: known.message }
}
