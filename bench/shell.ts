import { type RawData, WebSocket } from 'ws'
import { createDockerEngine } from '#core/engine/docker.ts'
import { channels, encodeFrame, type HostControl, TERMINAL_PROTOCOL } from '#core/terminal/protocol.ts'
import { median } from './statistics.ts'

export interface ShellBenchOptions {
  /** The Engine's socket. */
  socketPath: string
  /** `http://…` of a Host on that Engine. */
  hostUrl: string
  /** Its admin token. */
  token: string
  /** The environment whose running container is measured in. */
  container: string
  /** @default 300 */
  roundTrips?: number
  /** Bytes to stream in all, on each way. @default 360 MiB */
  throughputBytes?: number
}

export interface ShellFigures {
  /** Median of one byte to the terminal and back, in milliseconds. */
  echoMs: { raw: number; host: number }
  /** MB (10^6 bytes) a second out of a shell with pipes. */
  throughput: { raw: number; host: number }
}

/** Measures a shell through the Host against an exec over the Engine's own socket, both in turns in the same container. */
export async function measureShell(options: ShellBenchOptions): Promise<ShellFigures> {
  return { echoMs: await measureEcho(options), throughput: await measureThroughput(options) }
}

// --- internal ---

/** Many short rounds in turns: what else the machine does then weighs on both sides alike. */
const ROUNDS = 9

/** A way to a shell. */
interface Line {
  write(text: string): void
  /** One listener; the latest counts. */
  onBytes(listener: (bytes: Uint8Array) => void): void
  ended: Promise<void>
  close(): void
}

async function measureEcho(options: ShellBenchOptions): Promise<{ raw: number; host: number }> {
  const lines = { raw: await openRaw(options, true), host: await openHost(options, true) }
  const times: Record<keyof typeof lines, number[]> = { raw: [], host: [] }
  for (const line of Object.values(lines)) {
    // Typed before the shell reads, letters would get lost in its line editor. What it echoes of this is not yet "ready".
    await waitFor(line, 'ready', "printf 'rea%s' dy; exec cat > /dev/null\n")
    await roundTrip(line)
  }
  for (let index = 0; index < (options.roundTrips ?? 300); index += 1) {
    for (const name of ['raw', 'host'] as const) times[name].push(await roundTrip(lines[name]))
  }
  for (const line of Object.values(lines)) {
    line.write('\u0003')
    await line.ended
    line.close()
  }
  return { raw: median(times.raw), host: median(times.host) }
}

/** The terminal itself echoes the letter, so no program's speed is in the figure. */
async function roundTrip(line: Line): Promise<number> {
  const begin = performance.now()
  await waitFor(line, 'x', 'x')
  return performance.now() - begin
}

function waitFor(line: Line, text: string, input: string): Promise<void> {
  return new Promise((resolve) => {
    let seen = ''
    line.onBytes((bytes) => {
      seen += Buffer.from(bytes).toString('latin1')
      if (seen.includes(text)) resolve()
    })
    line.write(input)
  })
}

async function measureThroughput(options: ShellBenchOptions): Promise<{ raw: number; host: number }> {
  const bytes = Math.ceil((options.throughputBytes ?? 360 * 1024 * 1024) / ROUNDS)
  const speeds = { raw: [] as number[], host: [] as number[] }
  for (let round = 0; round < ROUNDS; round += 1) {
    speeds.raw.push(await stream(await openRaw(options, false), bytes))
    speeds.host.push(await stream(await openHost(options, false), bytes))
  }
  return { raw: median(speeds.raw), host: median(speeds.host) }
}

async function stream(line: Line, wanted: number): Promise<number> {
  let received = 0
  line.onBytes((bytes) => (received += bytes.length))
  const begin = performance.now()
  line.write(`head -c ${wanted} /dev/zero; exit\n`)
  await line.ended
  const seconds = (performance.now() - begin) / 1000
  line.close()
  if (received < wanted) throw new Error(`only ${received} of ${wanted} bytes arrived`)
  return wanted / 1e6 / seconds
}

/** The Engine's stream as it is: with pipes, the eight bytes before each piece are counted along. */
async function openRaw({ socketPath, container }: ShellBenchOptions, tty: boolean): Promise<Line> {
  const { stream: socket } = await createDockerEngine({ socketPath }).exec(container, { command: ['/bin/sh'], tty })
  let listener: (bytes: Uint8Array) => void = () => undefined
  socket.on('data', (bytes: Uint8Array) => listener(bytes))
  return {
    write: (text) => void socket.write(text),
    onBytes: (next) => (listener = next),
    ended: new Promise((resolve, reject) => void socket.once('end', resolve).once('error', reject)),
    close: () => void socket.destroy(),
  }
}

async function openHost({ hostUrl, token, container }: ShellBenchOptions, tty: boolean): Promise<Line> {
  const socket = new WebSocket(`${hostUrl.replace(/^http/, 'ws')}/api/containers/${container}/terminal?tty=${tty}`, [TERMINAL_PROTOCOL], {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
  })
  let listener: (bytes: Uint8Array) => void = () => undefined
  const ended = new Promise<void>((resolve, reject) => void socket.once('close', () => resolve()).once('error', reject))
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.on('message', (data: RawData, isBinary) => {
      const message = data as Buffer
      if (isBinary) return listener(message.subarray(1))
      const control = JSON.parse(message.toString()) as HostControl
      if (control.type === 'started') resolve()
      if (control.type === 'error') reject(new Error(control.detail))
    })
  })
  return {
    write: (text) => socket.send(encodeFrame(channels.stdin, Buffer.from(text))),
    onBytes: (next) => (listener = next),
    ended,
    close: () => socket.terminate(),
  }
}
