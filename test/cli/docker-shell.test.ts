import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import type { WebSocket } from 'ws'
import { HakuError } from '#core/errors.ts'
import { channels, type ClientControl, decodeFrame, encodeFrame, type HostControl, MAX_FRAME_BYTES } from '#core/terminal/protocol.ts'
import { usePrograms } from './support/programs.ts'
import { startStubHost, type StubHost } from './support/stub-host.ts'
import { startTerminal, type Terminal } from './support/terminal.ts'

const programs = usePrograms()

/** The Host's side of a shell, in the hands of the test. */
interface Shell {
  socket: WebSocket
  query: URLSearchParams
  name: string
  input: Buffer
  frames: number[]
  controls: ClientControl[]
  out(bytes: string | Uint8Array, channel?: 1 | 2): void
  control(message: HostControl): void
  /** Resolves once `condition` holds, which is looked at after each message. */
  until(condition: (shell: Shell) => boolean): Promise<void>
}

function createShell(socket: WebSocket, query: URLSearchParams, name: string): Shell {
  const shell: Shell = {
    socket, query, name, input: Buffer.alloc(0), frames: [], controls: [],
    out: (bytes, channel = channels.stdout) => socket.send(encodeFrame(channel, Buffer.from(bytes))),
    control: (message) => socket.send(JSON.stringify(message)),
    async until(condition) {
      while (!condition(shell)) await once(socket, 'message')
    },
  }
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    if (!isBinary) return void shell.controls.push(JSON.parse(data.toString()) as ClientControl)
    shell.frames.push(data.length)
    shell.input = Buffer.concat([shell.input, decodeFrame(data)?.bytes ?? Buffer.alloc(0)])
  })
  return shell
}

async function startShellHost(): Promise<{ host: StubHost; shell: Promise<Shell> }> {
  let opened: (shell: Shell) => void
  const shell = new Promise<Shell>((resolve) => {
    opened = resolve
  })
  const host = await startStubHost({ terminal: (socket, query, name) => opened(createShell(socket, query, name)) })
  return { host, shell }
}

/** The shell once its client reads keys one by one. A key before that may be shown by the terminal itself. */
async function joined(terminal: Terminal, shell: Shell): Promise<Shell> {
  terminal.pty.write('?')
  await shell.until(({ input }) => input.length > 0)
  shell.input = Buffer.alloc(0)
  return shell
}

describe('at a terminal', () => {
  async function open() {
    const { host, shell } = await startShellHost()
    const terminal = startTerminal('hakuriver.docker-shell', ['my-env'], programs.env(host.env))
    return { terminal, shell: await joined(terminal, await shell) }
  }

  it('asks for a terminal of the same size, and tells changes of it', async () => {
    const { terminal, shell } = await open()
    expect(shell.name).toBe('my-env')
    expect(Object.fromEntries(shell.query)).toEqual({ tty: 'true', columns: '100', rows: '30' })
    shell.control({ type: 'started' })
    terminal.pty.resize(55, 22)
    await shell.until(({ controls }) => controls.length > 0)
    expect(shell.controls).toEqual([{ type: 'resize', columns: 55, rows: 22 }])
    shell.control({ type: 'exit', exitCode: 0 })
    expect(await terminal.ended).toBe(0)
  })

  it('passes every key on and echoes none', async () => {
    const { terminal, shell } = await open()
    const before = terminal.output()
    const keys = '\u0003\u0004\t\u001A\u001C\u001B[A\r\u007Fexit\rü漢😀'
    terminal.pty.write(keys)
    await shell.until(({ input }) => input.length >= Buffer.byteLength(keys))
    expect(shell.input.toString()).toBe(keys)
    expect(shell.controls).toEqual([])
    shell.control({ type: 'exit', exitCode: 42 })
    expect(await terminal.ended).toBe(42)
    expect(terminal.output()).toBe(before)
  })

  it('hands bytes on unchanged, characters cut at any border included', async () => {
    const { terminal, shell } = await open()
    for (const byte of Buffer.from('漢字😀\u001B[31mred\nbelow\r\n')) shell.out(Buffer.of(byte))
    // A bare line feed stays one: full-screen programs move the cursor by it.
    await terminal.seen('漢字😀\u001B[31mred\nbelow\r\n')
    shell.control({ type: 'exit', exitCode: 0 })
    expect(await terminal.ended).toBe(0)
  })

  it.each<[string, number, (shell: Shell, pid: number) => unknown]>([
    ['the exit of the shell', 5, (shell) => shell.control({ type: 'exit', exitCode: 5 })],
    ['a dropped link', 1, (shell) => shell.socket.terminate()],
    ['a Host that stops', 1, (shell) => shell.socket.close(1012, 'Host is stopping')],
    ['an error', 1, (shell) => shell.control({ type: 'error', code: 'container.no_shell', detail: 'No shell.' })],
    ['SIGTERM', 143, (_, pid) => process.kill(pid, 'SIGTERM')],
    ['SIGHUP', 129, (_, pid) => process.kill(pid, 'SIGHUP')],
    ['SIGINT', 130, (_, pid) => process.kill(pid, 'SIGINT')],
  ])('leaves the terminal as it was after %s', async (_, code, end) => {
    const { host, shell: opened } = await startShellHost()
    const terminal = startTerminal('sh', ['-c', 'stty -g; sh -c "echo pid=$$; exec hakuriver.docker-shell my-env"; echo "code=$?"; stty -g; echo done'.replace('$$', '\\$\\$')], programs.env(host.env))
    const shell = await joined(terminal, await opened)
    end(shell, Number(/pid=(\d+)/.exec(terminal.output())?.[1]))
    await terminal.seen('done')
    expect(terminal.output()).toContain(`code=${code}\r\n`)
    const settings = terminal.output().match(/^[\da-f]+(?::[\da-f]+){10,}/gm)
    expect(settings).toHaveLength(2)
    expect(settings?.[1]).toBe(settings?.[0])
  })
})

describe('with pipes', () => {
  it('sends its input and the end of it, and keeps both outputs apart', async () => {
    const { host, shell: opened } = await startShellHost()
    const running = programs.start('hakuriver.docker-shell', ['my-env'], { env: host.env, input: 'id; exit 3\n' })
    const shell = await opened
    expect(shell.query.get('tty')).toBe('false')
    await shell.until(({ controls }) => controls.length > 0)
    expect({ input: shell.input.toString(), controls: shell.controls }).toEqual({ input: 'id; exit 3\n', controls: [{ type: 'end' }] })
    shell.out('uid=0\n')
    shell.out('oops\n', channels.stderr)
    shell.control({ type: 'exit', exitCode: 3 })
    expect(await running.finished).toEqual({ code: 3, stdout: 'uid=0\n', stderr: 'oops\n' })
  })

  it('sends much input in frames that the Host takes, whole', async () => {
    const { host, shell: opened } = await startShellHost()
    const input = Buffer.alloc(5_000_000, 'the same line again and again\n')
    const running = programs.start('hakuriver.docker-shell', ['my-env'], { env: host.env, input })
    const shell = await opened
    await shell.until(({ controls }) => controls.length > 0)
    expect(shell.input.equals(input)).toBe(true)
    expect(Math.max(...shell.frames)).toBeLessThanOrEqual(MAX_FRAME_BYTES)
    shell.control({ type: 'exit', exitCode: 0 })
    expect((await running.finished).code).toBe(0)
  })

  it('writes all output before it ends, however slow its reader', async () => {
    const { host, shell: opened } = await startShellHost()
    const running = programs.start('sh', ['-c', 'hakuriver.docker-shell my-env | (read go < /dev/null; wc -c)'], { env: host.env, input: '' })
    const shell = await opened
    for (let index = 0; index < 200; index++) shell.out(Buffer.alloc(32 * 1024, 'x'))
    shell.control({ type: 'exit', exitCode: 0 })
    expect((await running.finished).stdout.trim()).toBe(String(200 * 32 * 1024))
  })
})

describe('without a shell', () => {
  it.each([
    ['container.not_found', 3],
    ['container.not_running', 1],
    ['auth.role_refused', 4],
    ['host.stopping', 1],
  ] as const)('a refusal with %s ends with %i', async (code, expected) => {
    const host = await startStubHost({ refuseTerminal: new HakuError(code, 'What happened. What to do.') })
    expect(await programs.run('hakuriver.docker-shell', ['my-env'], { env: host.env })).toEqual({ code: expected, stdout: '', stderr: 'hakuriver docker-shell: What happened. What to do.\n' })
  })

  it('a wrong token ends with 4', async () => {
    const host = await startStubHost()
    expect((await programs.run('hakuriver.docker-shell', ['my-env'], { env: { ...host.env, HAKURIVER_TOKEN: 'wrong' } })).code).toBe(4)
  })

  it.each([
    [(socket: WebSocket) => socket.send(JSON.stringify({ type: 'error', code: 'container.no_shell', detail: 'There is no shell.' })), 'There is no shell.'],
    [(socket: WebSocket) => socket.close(1012), 'The Host is stopping: the shell was ended.'],
    [(socket: WebSocket) => socket.terminate(), 'The link to the Host was lost (1006); the Host ends the shell in the container.'],
  ])('tells why it ended (%#)', async (end, message) => {
    const host = await startStubHost({ terminal: end })
    expect(await programs.run('hakuriver.docker-shell', ['my-env'], { env: host.env })).toEqual({ code: 1, stdout: '', stderr: `hakuriver docker-shell: ${message}\n` })
  })
})
