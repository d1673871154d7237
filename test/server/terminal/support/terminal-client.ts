import { EventEmitter, once } from 'node:events'
import { type RawData, WebSocket } from 'ws'
import { channels, type ClientControl, encodeFrame, type HostControl, MAX_FRAME_BYTES, TERMINAL_PROTOCOL } from '#core/terminal/protocol.ts'
import { TOKEN } from './terminal-host.ts'

export interface TerminalClient {
  socket: WebSocket
  /** All that came on each channel. */
  stdout(): Buffer
  stderr(): Buffer
  controls: HostControl[]
  type(input: string | Uint8Array): void
  control(message: ClientControl): void
  /** Resolves once `found` is true, looking after each message. */
  until(found: () => boolean): Promise<void>
  /** Resolves once stdout has `text` from `offset` on. */
  untilOutput(text: string | RegExp): Promise<void>
  /** Resolves to the close code and reason. */
  closed: Promise<{ code: number; reason: string }>
}

/** A bare client of the terminal endpoint. `onOutput` takes the output instead of keeping it. */
export function openTerminal(url: string, name: string, query: Record<string, string>, onOutput?: (bytes: Buffer) => void): TerminalClient {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/containers/${name}/terminal?${new URLSearchParams(query).toString()}`, [TERMINAL_PROTOCOL], { headers: { authorization: `Bearer ${TOKEN}` } })
  const received: Record<number, Buffer[]> = { [channels.stdout]: [], [channels.stderr]: [] }
  const controls: HostControl[] = []
  const news = new EventEmitter().setMaxListeners(0)
  const opened = once(socket, 'open')
  const take = (channel: number): Buffer => Buffer.concat(received[channel] ?? [])

  socket.on('message', (data: RawData, isBinary: boolean) => {
    const message = data as Buffer
    if (!isBinary) controls.push(JSON.parse(message.toString()) as HostControl)
    else if (onOutput) onOutput(message.subarray(1))
    else received[message[0] ?? 0]?.push(message.subarray(1))
    news.emit('news')
  })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => {
      resolve({ code, reason: reason.toString() })
      news.emit('news')
    })
  })
  const until = async (found: () => boolean): Promise<void> => {
    while (!found()) {
      if (socket.readyState === WebSocket.CLOSED) throw new Error(`closed too early: ${JSON.stringify(controls)} ${take(channels.stdout).toString().slice(-500)}`)
      await once(news, 'news')
    }
  }
  const sendInput = async (bytes: Buffer): Promise<void> => {
    await opened
    for (let offset = 0; offset < bytes.length; offset += MAX_FRAME_BYTES - 1) socket.send(encodeFrame(channels.stdin, bytes.subarray(offset, offset + MAX_FRAME_BYTES - 1)))
  }
  const sendControl = async (message: ClientControl): Promise<void> => {
    await opened
    socket.send(JSON.stringify(message))
  }

  return {
    socket,
    controls,
    closed,
    until,
    stdout: () => take(channels.stdout),
    stderr: () => take(channels.stderr),
    untilOutput: (text) => until(() => (typeof text === 'string' ? take(channels.stdout).includes(text) : text.test(take(channels.stdout).toString()))),
    type(input) {
      void sendInput(Buffer.from(input))
    },
    control(message) {
      void sendControl(message)
    },
  }
}
