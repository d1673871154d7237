import { once } from 'node:events'
import { PassThrough, Readable, Writable } from 'node:stream'
import { expect, it } from 'vitest'
import type { WebSocket } from 'ws'
import type { LocalTerminal } from '#cli/shell/local-terminal.ts'
import { runTerminal } from '#cli/shell/terminal-client.ts'
import { channels, encodeFrame } from '#core/terminal/protocol.ts'
import { startStubHost } from './support/stub-host.ts'

const MIB = 1024 * 1024
const pipes: LocalTerminal = { isTerminal: false, size: () => ({ columns: 80, rows: 24 }), onResize: () => {}, setRaw: () => {}, restore: () => {} }

it('stops reading its input while the Host takes none, and loses nothing', async () => {
  let received = 0
  let opened: (socket: WebSocket) => void
  const connected = new Promise<WebSocket>((resolve) => {
    opened = resolve
  })
  const { url, token } = await startStubHost({
    terminal(socket) {
      socket.pause()
      socket.on('message', (data: Buffer, isBinary: boolean) => {
        if (isBinary) received += data.length - 1
        else socket.send(JSON.stringify({ type: 'exit', exitCode: 0 }))
      })
      opened(socket)
    },
  })
  let read = 0
  const stdin = Readable.from((function* () {
    for (; read < 64; read++) yield Buffer.alloc(MIB)
  })())
  const ended = runTerminal({ url, token, name: 'my-env', terminal: pipes, stdin, stdout: new PassThrough(), stderr: new PassThrough() })
  const socket = await connected
  await Promise.race([once(stdin, 'pause'), once(stdin, 'end').then(() => { throw new Error('all input was read') })])
  expect(read).toBeLessThan(64)
  socket.resume()
  expect(await ended).toBe(0)
  expect(received).toBe(64 * MIB)
})

it('takes output no faster than it is read', async () => {
  const frames = 8192
  const frame = encodeFrame(channels.stdout, Buffer.alloc(4 * 1024))
  const { url, token } = await startStubHost({
    terminal(socket) {
      for (let sent = 0; sent < frames; sent++) socket.send(frame)
      socket.send(JSON.stringify({ type: 'exit', exitCode: 0 }))
    },
  })
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  let waiting = 0
  let written = 0
  const stdout: Writable = new Writable({
    write(chunk: Buffer, _, done) {
      written += chunk.length
      waiting = Math.max(waiting, stdout.writableLength)
      setImmediate(() => setImmediate(() => setImmediate(done)))
    },
  })
  expect(await runTerminal({ url, token, name: 'my-env', terminal: pipes, stdin: new PassThrough(), stdout, stderr: new PassThrough() })).toBe(0)
  stdout.end()
  await once(stdout, 'finish')
  expect(written).toBe(frames * 4 * 1024)
  expect(waiting).toBeLessThan(4 * MIB)
  // One listener, however many frames come after the pause.
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
})
