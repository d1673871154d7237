import type { Readable, Writable } from 'node:stream'
import { WebSocket } from 'ws'
import { hostApi } from '#core/api/host.ts'
import { buildPath } from '#core/api/match.ts'
import { errorOf } from '#core/client/client.ts'
import { errorMessage, fromProblem, HakuError, systemErrorCode } from '#core/errors.ts'
import { channels, type ClientControl, closeCodes, decodeFrame, encodeFrame, type HostControl, MAX_FRAME_BYTES, TERMINAL_PROTOCOL } from '#core/terminal/protocol.ts'
import type { LocalTerminal } from './local-terminal.ts'

export interface TerminalClientOptions {
  /** `http://host:port` */
  url: string
  token: string | undefined
  name: string
  terminal: LocalTerminal
  stdin: Readable
  stdout: Writable
  stderr: Writable
}

/** Input that may wait in memory for a slow link before reading more is put off. */
const MAX_BUFFERED_BYTES = 1024 * 1024
/** While a full pipe holds our reading back we do not hear the Host's pings, and it takes whoever is silent for dead. */
const LIFE_MS = 15_000

/**
 * Joins this terminal (or these pipes) and a shell in the container until the shell ends. Bytes pass untouched both ways; who
 * is slow holds the other side back.
 *
 * @returns the exit code of the shell
 * @throws what the Host answers, `host.unreachable`, `host.stopping`
 */
export async function runTerminal(options: TerminalClientOptions): Promise<number> {
  const { terminal } = options
  const socket = createSocket(options)
  // From the first byte on: the Host may send before we hear that the link is open.
  receive(socket, options)
  const ended = waitForExit(socket)
  const life = setInterval(() => sendLife(socket), LIFE_MS)
  try {
    await Promise.race([opened(socket, options.url), ended])
    terminal.setRaw()
    terminal.onResize(() => sendControl(socket, { type: 'resize', ...terminal.size() }))
    sendInput(socket, options.stdin)
    return await ended
  } finally {
    clearInterval(life)
    terminal.restore()
    options.stdin.pause()
    socket.close()
  }
}

// --- internal ---

function createSocket({ url, token, name, terminal }: TerminalClientOptions): WebSocket {
  const address = new URL(buildPath(hostApi.openTerminal.path, { name }), url)
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
  const { columns, rows } = terminal.size()
  for (const [key, value] of Object.entries({ tty: terminal.isTerminal, columns, rows })) address.searchParams.set(key, String(value))
  return new WebSocket(address, [TERMINAL_PROTOCOL], { perMessageDeflate: false, handshakeTimeout: 30_000, headers: token ? { authorization: `Bearer ${token}` } : {} })
}

function sendLife(socket: WebSocket): void {
  if (socket.readyState === WebSocket.OPEN) socket.ping()
}

function opened(socket: WebSocket, url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // A peer that lost its power says no goodbye. Not by pings: who holds our input back does not read them either.
    socket.once('upgrade', (response) => response.socket.setKeepAlive(true, 15_000))
    socket.once('open', () => resolve())
    socket.once('unexpected-response', (request, response) => {
      void errorOf(response).then(reject, reject).finally(() => request.destroy())
    })
    socket.on('error', (error) => {
      reject(new HakuError('host.unreachable', `The Host at ${new URL(url).origin} can not be reached: ${systemErrorCode(error) ?? errorMessage(error)}. Is it running? Check [network] host_reachable_address and host_port in the configuration.`, { cause: error }))
    })
  })
}

/** The shell's exit code, or the reason why there is none. All output before it has been handed on by then: frames keep their order. */
function waitForExit(socket: WebSocket): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      const control = isBinary ? undefined : parseControl(data)
      if (control?.type === 'exit') resolve(control.exitCode)
      if (control?.type === 'error') reject(fromProblem(control))
    })
    socket.once('close', (code: number, reason: Buffer) => reject(closeError(code, reason.toString())))
  })
}

/** What is no control of ours (a newer Host's, say) is passed over. */
function parseControl(data: Buffer): HostControl | undefined {
  try {
    return JSON.parse(data.toString()) as HostControl
  } catch {
    // Text that is no JSON: as good as a control that is not known.
    return undefined
  }
}

function closeError(code: number, reason: string): HakuError {
  if (code === closeCodes.restarting) return new HakuError('host.stopping', 'The Host is stopping: the shell was ended.')
  const text = reason ? `${code}, ${reason}` : String(code)
  return new HakuError('internal.error', `The link to the Host was lost (${text}); the Host ends the shell in the container.`)
}

function receive(socket: WebSocket, { stdout, stderr }: TerminalClientOptions): void {
  const full = new Set<Writable>()
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    const frame = isBinary ? decodeFrame(data) : undefined
    if (!frame || frame.channel === channels.stdin) return
    const target = frame.channel === channels.stderr ? stderr : stdout
    // What had arrived already still comes after the pause: one listener for all of it.
    if (target.write(frame.bytes) || full.has(target)) return
    full.add(target)
    socket.pause()
    target.once('drain', () => {
      full.delete(target)
      if (full.size === 0) socket.resume()
    })
  })
}

function sendInput(socket: WebSocket, stdin: Readable): void {
  stdin.on('data', (chunk: Buffer) => {
    for (let start = 0; start < chunk.length; start += MAX_FRAME_BYTES - 1) {
      const last = start + MAX_FRAME_BYTES - 1 >= chunk.length
      const sent = () => {
        if (last && stdin.isPaused() && socket.readyState === WebSocket.OPEN) stdin.resume()
      }
      send(socket, encodeFrame(channels.stdin, chunk.subarray(start, start + MAX_FRAME_BYTES - 1)), sent)
    }
    if (socket.bufferedAmount > MAX_BUFFERED_BYTES) stdin.pause()
  })
  stdin.once('end', () => sendControl(socket, { type: 'end' }))
  // The input is gone (its terminal was closed, say): the same as its end.
  stdin.once('error', () => sendControl(socket, { type: 'end' }))
}

function sendControl(socket: WebSocket, control: ClientControl): void {
  send(socket, JSON.stringify(control), () => {})
}

/** A socket that closes takes no more; `close` tells what there is to tell. */
function send(socket: WebSocket, data: Buffer | string, done: () => void): void {
  if (socket.readyState === WebSocket.OPEN) socket.send(data, done)
}
