import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { demultiplex } from '#core/engine/demultiplex.ts'
import { type EngineBench, outputOf, readLogged, readOutput, readText } from './engine-bench.ts'

/** Random bytes on stdout, then their digest on stderr. */
const RANDOM = ['/bin/sh', '-c', 'head -c 3000000 /dev/urandom | tee /tmp/bytes; sha256sum < /tmp/bytes >&2']

export function outputCases(use: () => EngineBench): void {
  it('comes whole from the log, byte for byte', async () => {
    const { engine, run } = use()
    const id = await run(RANDOM)
    await engine.waitContainer(id)
    for (const follow of [false, true]) {
      const { stdout, stderr } = await readLogged(await engine.readLogs(id, { follow }))
      expect(stdout.length).toBe(3_000_000)
      expect(stderr.toString()).toContain(createHash('sha256').update(stdout).digest('hex'))
    }
  })

  it.each([
    ['longer than the Engine takes at once', 'head -c 40000 /dev/zero | tr "\\0" x; echo end; echo next; head -c 40000 /dev/zero | tr "\\0" y >&2; echo end >&2; echo next >&2'],
    ['just as long as the Engine takes at once', 'head -c 32768 /dev/zero | tr "\\0" x; echo; echo next; head -c 16384 /dev/zero | tr "\\0" y >&2; echo >&2; echo next >&2'],
    ['that is just as long at the end', 'head -c 32768 /dev/zero | tr "\\0" x; echo'],
    ['without an end', 'head -c 40000 /dev/zero | tr "\\0" x; printf short >&2'],
  ])('comes from the log with a line %s', async (_, script) => {
    const { engine, create } = use()
    const id = await create(['/bin/sh', '-c', script])
    const stream = await engine.attachOutput(id)
    await engine.startContainer(id)
    const attached = await readOutput(stream)
    const logged = await readLogged(await engine.readLogs(id, { follow: true }))
    expect([logged.stdout.length, logged.stderr.length]).toEqual([attached.stdout.length, attached.stderr.length])
    expect(logged.stdout.equals(attached.stdout) && logged.stderr.equals(attached.stderr)).toBe(true)
  })

  it('comes whole from a stream that was attached before the start', async () => {
    const { engine, create } = use()
    const id = await create(RANDOM, { logs: 'none' })
    const stream = await engine.attachOutput(id)
    await engine.startContainer(id)
    const { stdout, stderr } = await readOutput(stream)
    expect(stdout.length).toBe(3_000_000)
    expect(stderr.toString()).toContain(createHash('sha256').update(stdout).digest('hex'))
  })

  it('waits for a slow reader, loses nothing and fills no memory', async () => {
    const { engine, create } = use()
    const id = await create(['/bin/sh', '-c', 'head -c 20000000 /dev/zero; echo end >&2'], { logs: 'none' })
    const stream = await engine.attachOutput(id)
    await engine.startContainer(id)
    let received = 0
    let most = 0
    let stderr = ''
    for await (const { channel, bytes } of demultiplex(stream)) {
      if (channel === 'stdout') received += bytes.length
      else stderr += bytes.toString()
      await setImmediate()
      most = Math.max(most, stream.readableLength)
    }
    expect({ received, stderr }).toEqual({ received: 20_000_000, stderr: 'end\n' })
    expect(most).toBeLessThan(512 * 1024)
  })

  it('follows a container to its end', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', 'echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last'])
    let stdout = ''
    for await (const { bytes } of demultiplex(await engine.readLogs(id, { follow: true }), { isLog: true })) {
      stdout += bytes.toString()
      // The first line is here while the container still waits: so it was not kept for the end.
      if (stdout === 'first\n') await engine.exec(id, { command: ['/bin/touch', '/tmp/go'], tty: false })
    }
    expect(stdout).toBe('first\nlast\n')
  })

  it('of earlier runs of the container is still in the log', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/echo', 'again'])
    await engine.waitContainer(id)
    await engine.startContainer(id)
    expect((await outputOf(engine, id)).stdout).toBe('again\nagain\n')
  })

  it('is not kept if nobody wants it', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/echo', 'gone'], { logs: 'none' })
    await engine.waitContainer(id)
    const read = async () => readText(await engine.readLogs(id, { follow: false }))
    await expect(read()).rejects.toMatchObject({ name: 'HakuError' })
  })

  it('may be left in the middle', async () => {
    const { engine, run } = use()
    const id = await run(['/bin/sh', '-c', 'yes'])
    for await (const { bytes } of demultiplex(await engine.readLogs(id, { follow: true }), { isLog: true })) if (bytes.length > 0) break
    expect((await engine.inspectContainer(id))?.status).toBe('running')
    await engine.removeContainer(id)
  })
}
