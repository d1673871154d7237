import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Engine } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { MAX_FRAME_BYTES } from '#core/terminal/protocol.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox, importFolder } from '#test/support/images.ts'
import { findProgram } from '../../../build/programs.mjs'
import { processesIn, startContainer } from './support/containers.ts'
import { openTerminal, type TerminalClient } from './support/terminal-client.ts'
import { startTerminalHost, type TerminalHost } from './support/terminal-host.ts'

/** The container's own processes: all that may stay. */
const IDLE = [expect.stringContaining('init'), '/bin/sleep infinity']

describe.skipIf(engineMissing !== undefined)('terminal', () => {
  let engine: Engine
  let host: TerminalHost
  let container: { name: string; id: string }
  const clients: TerminalClient[] = []
  const cleanUps: (() => Promise<unknown>)[] = []

  beforeAll(async () => {
    engine = testEngine()
    container = await startContainer(engine, await ensureBusybox(socketPath))
    host = await startTerminalHost(engine)
  })
  afterEach(async () => {
    for (const { socket } of clients.splice(0)) socket.terminate()
    await untilGone()
    for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
  })
  afterAll(async () => {
    await host?.close()
    if (container) await engine.removeContainer(container.id)
  })

  function open(query: Record<string, string> = {}, name = container.name, onOutput?: (bytes: Buffer) => void): TerminalClient {
    const client = openTerminal(host.url, name, query, onOutput)
    clients.push(client)
    return client
  }

  /** Resolves once the Host has no session and the container none of their processes. */
  async function untilGone(): Promise<void> {
    await expect.poll(() => host.terminals.count(), { timeout: 20_000, interval: 20 }).toBe(0)
    await expect.poll(() => processesIn(engine, container.id), { timeout: 20_000 }).toEqual(IDLE)
  }

  async function openCustom(links: string[], files: Record<string, string> = {}): Promise<TerminalClient> {
    const folder = await mkdtemp(join(tmpdir(), 'hakuriver-shell-test-'))
    cleanUps.push(() => rm(folder, { recursive: true }))
    await mkdir(join(folder, 'bin'))
    await copyFile(findProgram('busybox') ?? '/bin/busybox', join(folder, 'bin/busybox'))
    for (const link of links) await symlink('busybox', join(folder, 'bin', link))
    for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text, { mode: 0o755 })
    const image = `hk-shell-test-${createId()}:latest`
    await importFolder(socketPath, folder, image)
    cleanUps.push(() => engine.removeImage(image))
    const custom = await startContainer(engine, image)
    cleanUps.push(() => engine.removeContainer(custom.id))
    return open({ tty: 'false' }, custom.name)
  }

  describe('with a terminal', () => {
    it('has the size asked for, and follows changes of it', async () => {
      const client = open({ tty: 'true', columns: '123', rows: '45' })
      client.type('stty size; echo $TERM\n')
      await client.untilOutput('45 123\r\nxterm-256color')
      for (const [columns, rows] of [[80, 24], [132, 50], [99_999, 3]] as const) client.control({ type: 'resize', columns, rows })
      // The size is set beside the input, so the shell may be asked too early.
      await expect.poll(() => {
        client.type('stty size\n')
        return client.stdout().toString()
      }).toContain('3 10000')
    })

    it('goes on after a size that is none', async () => {
      const client = open({ tty: 'true', columns: '90', rows: '30' })
      client.control({ type: 'resize', columns: Number.NaN, rows: 5 })
      client.type('stty size\n')
      await client.untilOutput('30 90')
      expect(client.socket.readyState).toBe(client.socket.OPEN)
    })

    it('shows nothing before the shell itself', async () => {
      const client = open({ tty: 'true' })
      client.type('exit\n')
      await client.closed
      expect(client.stdout().toString()).not.toMatch(/^\s*\d/)
      expect(client.controls[0]).toEqual({ type: 'started' })
    })

    it('tells the exit code of the shell', async () => {
      const client = open({ tty: 'true' })
      client.type('exit 42\n')
      await expect(client.closed).resolves.toMatchObject({ code: 1000 })
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 42 })
    })

    it('takes the end of the input for the end of file', async () => {
      const client = open({ tty: 'true' })
      await client.untilOutput('# ')
      client.control({ type: 'end' })
      await client.closed
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 0 })
    })

    it('interrupts the foreground program while its output floods', async () => {
      let bytes = 0
      let tail = ''
      const client = open({ tty: 'true' }, container.name, (output) => {
        bytes += output.length
        tail = (tail + output.toString('latin1')).slice(-100)
      })
      client.type('yes\n')
      await client.until(() => bytes > 5_000_000)
      client.type('\u0003')
      await client.until(() => tail.includes('# '))
      client.type('exit 7\n')
      await client.closed
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 7 })
    })

    it('interrupts the foreground program while the client reads nothing', async () => {
      let bytes = 0
      const client = open({ tty: 'true' }, container.name, (output) => (bytes += output.length))
      // By its path, because busybox runs its own `yes` inside the shell.
      client.type('/bin/yes\n')
      await client.until(() => bytes > 100_000)
      client.socket.pause()
      await expect.poll(() => processesIn(engine, container.id)).toContain('/bin/yes')
      client.type('\u0003')
      await expect.poll(() => processesIn(engine, container.id), { timeout: 10_000 }).not.toContain('/bin/yes')
    })

    it('reports a shell that a signal killed', async () => {
      const client = open({ tty: 'true' })
      client.type('kill -9 $$\n')
      await client.closed
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 137 })
    })
  })

  describe('with pipes', () => {
    it('runs what comes in, keeps the outputs apart and exits with its code', async () => {
      const client = open({ tty: 'false' })
      client.type('id; echo oops >&2; exit 3')
      client.control({ type: 'end' })
      await expect(client.closed).resolves.toMatchObject({ code: 1000 })
      expect(client.stdout().toString()).toMatch(/^uid=0.*\n$/)
      expect(client.stderr().toString()).toBe('oops\n')
      expect(client.controls).toEqual([{ type: 'started' }, { type: 'exit', exitCode: 3 }])
    })

    it('leaves every byte as it is, wherever it is cut', async () => {
      const client = open({ tty: 'false' })
      const whole = Buffer.from('😀é漢\u0000\u00FF'.repeat(200))
      const bytes = Buffer.concat([whole, Buffer.from(Array.from({ length: 256 }, (_, index) => index))])
      client.type('cat\n')
      // Typed at once, `cat` might not run yet: then the shell would have read on.
      await client.until(() => client.controls.length > 0)
      await expect.poll(() => processesIn(engine, container.id)).toContain('cat')
      for (let offset = 0; offset < bytes.length; offset += 3) client.type(bytes.subarray(offset, offset + 3))
      client.control({ type: 'end' })
      await client.closed
      expect(client.stdout().equals(bytes)).toBe(true)
    })

    it('carries 5 MB through cat', async () => {
      const client = open({ tty: 'false' })
      client.type('cat\n')
      await expect.poll(() => processesIn(engine, container.id)).toContain('cat')
      const bytes = Buffer.alloc(5_000_000, 'abcdefghijklmnopqrstuvw')
      client.type(bytes)
      client.control({ type: 'end' })
      await client.closed
      expect(client.stdout().equals(bytes)).toBe(true)
    })

    it('loses nothing when a shell ends with unread input', async () => {
      const client = open({ tty: 'false' })
      client.type(`echo begin; head -c 300000 /dev/zero; echo end; exit 5\n${'x'.repeat(2_000_000)}`)
      await client.closed
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 5 })
      expect(client.stdout().length).toBe('begin\nend\n'.length + 300_000)
    })
  })

  describe('flow control', () => {
    it('holds 200 MB back for a slow reader, and drops none of it', async () => {
      let bytes = 0
      let hash = 0
      const client = open({ tty: 'false' }, container.name, (output) => {
        bytes += output.length
        hash = (hash + (output[0] ?? 0)) % 1000
        // Stop and go: the other side has to hold back each time.
        if (bytes % 7 === 0) {
          client.socket.pause()
          setImmediate(() => client.socket.resume())
        }
      })
      client.type('dd if=/dev/zero bs=1M count=200 2>/dev/null; exit 0\n')
      await client.closed
      expect(bytes).toBe(200 * 1024 * 1024)
      expect(hash).toBe(0)
    })

    it('does not read on while the client does not', async () => {
      expect(await measureCapacity()).toBeLessThan(20_000_000)
    })

    it('keeps what a shell left behind for a client that reads much later', async () => {
      const capacity = await measureCapacity()
      // Around what all buffers hold together, some shells end with their last words still in the pipe.
      const sizes = Array.from({ length: 12 }, (_, index) => capacity - 330_000 + index * 30_000)
      const readers = sizes.map((size) => {
        const client = open({ tty: 'false' })
        client.type(`head -c ${size} /dev/zero; echo end; exit 4\n`)
        return client
      })
      await Promise.all(readers.map(async (client) => {
        await client.until(() => client.controls.length > 0)
        client.socket.pause()
      }))
      // The Engine drops them two seconds after the end of a shell: there is no event to wait for.
      await new Promise<void>((resolve) => setTimeout(resolve, 4000))
      for (const client of readers) client.socket.resume()
      await Promise.all(readers.map((client) => client.closed))
      expect(readers.map((client) => client.stdout().length)).toEqual(sizes.map((size) => size + 'end\n'.length))
      expect(readers.map((client) => client.controls.at(-1))).toEqual(sizes.map(() => ({ type: 'exit', exitCode: 4 })))
    })

    /** Bytes that a shell can print to a client that reads nothing, in steps of 10 kB. */
    async function measureCapacity(): Promise<number> {
      const client = open({ tty: 'false' })
      await client.until(() => client.controls.length > 0)
      client.socket.pause()
      client.type('rm -f /tmp/written; while :; do head -c 10000 /dev/zero; echo $((n = n + 1)) > /tmp/written; done\n')
      // Once the count stands still, all buffers on the way are full.
      let written = 0
      await expect.poll(async () => {
        const before = written
        written = await readCount()
        return written > 0 && written === before
      }, { timeout: 30_000, interval: 700 }).toBe(true)
      client.socket.terminate()
      return written * 10_000
    }

    async function readCount(): Promise<number> {
      const { stream } = await engine.exec(container.id, { command: ['/bin/cat', '/tmp/written'], tty: true })
      let output = ''
      for await (const piece of stream as AsyncIterable<Buffer>) output += piece.toString()
      return Number.parseInt(output, 10) || 0
    }
  })

  describe('a dropped link', () => {
    for (const tty of ['true', 'false']) {
      it(`ends the shell and what runs in it, tty=${tty}`, async () => {
        const other = open({ tty: 'true' })
        const client = open({ tty })
        other.type('sleep 2000\n')
        client.type('sleep 1000\n')
        await expect.poll(() => processesIn(engine, container.id)).toEqual(expect.arrayContaining(['sleep 1000', 'sleep 2000']))
        client.socket.terminate()
        await expect.poll(() => processesIn(engine, container.id), { timeout: 10_000 }).not.toContain('sleep 1000')
        await expect.poll(() => host.terminals.count(), { timeout: 10_000 }).toBe(1)
        expect(await processesIn(engine, container.id)).toContain('sleep 2000')
        other.type('\u0003exit 9\n')
        await other.closed
        expect(other.controls.at(-1)).toEqual({ type: 'exit', exitCode: 9 })
      })
    }

    it('ends programs that ignore the hang-up in the foreground, and stopped ones', async () => {
      const client = open({ tty: 'true' })
      client.type('sleep 3000\n')
      await expect.poll(() => processesIn(engine, container.id)).toContain('sleep 3000')
      client.type('\u001A')
      await client.untilOutput('topped')
      client.type(`sh -c 'trap "" HUP; sleep 1000; :'\n`)
      await expect.poll(() => processesIn(engine, container.id)).toContain('sleep 1000')
      client.socket.terminate()
      await untilGone()
    })

    it('is noticed while the shell takes no input', async () => {
      const impatient = await startTerminalHost(engine, { pingIntervalMs: 200 })
      cleanUps.push(() => impatient.close())
      const client = openTerminal(impatient.url, container.name, { tty: 'false' })
      client.type('sleep 1000\n')
      await expect.poll(() => processesIn(engine, container.id)).toContain('sleep 1000')
      client.type(Buffer.alloc(20_000_000))
      await client.until(() => client.controls.length > 0)
      client.socket.terminate()
      await expect.poll(() => impatient.terminals.count(), { timeout: 20_000 }).toBe(0)
      await untilGone()
    })

    it('is noticed when the client answers no ping', async () => {
      const impatient = await startTerminalHost(engine, { pingIntervalMs: 100 })
      cleanUps.push(() => impatient.close())
      const client = openTerminal(impatient.url, container.name, { tty: 'true' })
      await client.untilOutput('# ')
      client.socket.pause()
      await expect.poll(() => impatient.terminals.count(), { timeout: 20_000 }).toBe(0)
      client.socket.terminate()
      await untilGone()
    })

    it('is not supposed of a client that reads nothing for a while but pings', async () => {
      const impatient = await startTerminalHost(engine, { pingIntervalMs: 100 })
      cleanUps.push(() => impatient.close())
      const client = openTerminal(impatient.url, container.name, { tty: 'true' })
      await client.untilOutput('# ')
      client.socket.pause()
      // Three times what a silent client would get.
      for (let count = 0; count < 20; count += 1) await new Promise<void>((resolve) => client.socket.ping(undefined, undefined, () => setTimeout(resolve, 50)))
      client.socket.resume()
      client.type('exit 5\n')
      await client.closed
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 5 })
    })

    it('during the opening leaves nothing', async () => {
      const client = open({ tty: 'true' })
      await new Promise((resolve) => client.socket.once('open', resolve))
      client.socket.terminate()
      await untilGone()
      expect(client.stdout().length).toBe(0)
    })
  })

  it('ends all shells when the Host stops', async () => {
    const stopping = await startTerminalHost(engine)
    const client = openTerminal(stopping.url, container.name, { tty: 'true' })
    client.type('sleep 1000\n')
    await expect.poll(() => processesIn(engine, container.id)).toContain('sleep 1000')
    await stopping.close()
    expect(await processesIn(engine, container.id)).toEqual(IDLE)
    await expect(client.closed).resolves.toMatchObject({ code: 1012 })
  })

  describe('bad messages', () => {
    const cases: [string, (client: TerminalClient) => void, number][] = [
      ['text that is no JSON', ({ socket }) => socket.send('{'), 1008],
      ['an unknown type', ({ socket }) => socket.send('{"type":"detach"}'), 1008],
      ['a channel of the Host', ({ socket }) => socket.send(Buffer.from([1, 65])), 1008],
      ['an empty frame', ({ socket }) => socket.send(Buffer.alloc(0)), 1008],
      ['input after its end', ({ socket }) => ['{"type":"end"}', Buffer.from([0, 65])].forEach((message) => socket.send(message)), 1008],
      ['a frame above the limit', ({ socket }) => socket.send(Buffer.alloc(MAX_FRAME_BYTES + 1)), 1009],
      ['a frame far above the limit', ({ socket }) => socket.send(Buffer.alloc(1_000_000)), 1009],
    ]
    for (const [what, send, code] of cases) {
      it(`closes with ${code} on ${what}, and leaves other sessions alone`, async () => {
        const other = open({ tty: 'true' })
        const client = open({ tty: 'false' })
        client.type('sleep 1000\n')
        await client.until(() => client.controls.length > 0)
        send(client)
        await expect(client.closed).resolves.toMatchObject({ code })
        other.type('exit 8\n')
        await other.closed
        expect(other.controls.at(-1)).toEqual({ type: 'exit', exitCode: 8 })
      })
    }
  })

  describe('containers', () => {
    it('prefers bash', async () => {
      const client = await openCustom(['sh', 'sleep'], { 'bin/bash': '#!/bin/sh\necho this is bash\n' })
      await client.closed
      expect(client.stdout().toString()).toBe('this is bash\n')
    })

    it('needs nothing but /bin/sh', async () => {
      const client = await openCustom(['sh', 'sleep'])
      client.type('echo yes; exit 6\n')
      await client.closed
      expect(client.stdout().toString()).toBe('yes\n')
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 6 })
    })

    it('says that there is no shell', async () => {
      const client = await openCustom(['sleep'])
      await client.closed
      expect(client.controls).toEqual([{ type: 'error', code: 'container.no_shell', detail: expect.stringContaining('/bin/sh') as string }])
      expect(client.stdout().length).toBe(0)
    })

    it('says that there is no container', async () => {
      const client = open({}, 'hk-shell-nobody')
      await client.closed
      expect(client.controls).toMatchObject([{ type: 'error', code: 'container.not_found' }])
    })

    it('reports a stop under an open shell as its end, and refuses the next one', async () => {
      const stopped = await startContainer(engine, 'busybox:latest')
      cleanUps.push(() => engine.removeContainer(stopped.id))
      const client = open({ tty: 'true' }, stopped.name)
      await client.untilOutput('# ')
      await engine.stopContainer(stopped.id, 1)
      await client.closed
      expect(client.controls.at(-1)).toEqual({ type: 'exit', exitCode: 137 })
      const late = open({ tty: 'true' }, stopped.name)
      await late.closed
      expect(late.controls).toMatchObject([{ type: 'error', code: 'container.not_running' }])
    })

    it('says that the Engine does not answer', async () => {
      const { createDockerEngine } = await import('#core/engine/docker.ts')
      const lonely = await startTerminalHost(createDockerEngine({ socketPath: '/tmp/hk-shell-no-engine.sock' }))
      cleanUps.push(() => lonely.close())
      const client = openTerminal(lonely.url, container.name, {})
      await client.closed
      expect(client.controls).toMatchObject([{ type: 'error', code: 'engine.unavailable' }])
    })
  })
})
