import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { beforeAll, expect, it } from 'vitest'
import { text } from 'node:stream/consumers'
import type { ExecSpec } from '#core/engine/engine.ts'
import type { HakuError } from '#core/errors.ts'
import { type EngineBench, exitCodeOf, readOutput, readText } from './engine-bench.ts'

export function execCases(use: () => EngineBench): void {
  let id: string
  beforeAll(async () => {
    id = await use().run(['/bin/sleep', 'infinity'])
  })
  const start = (command: string[], options: Partial<ExecSpec> = {}) => use().engine.exec(id, { command, tty: false, ...options })
  const shell = (script: string, options: Partial<ExecSpec> = {}) => start(['/bin/sh', '-c', script], options)

  it('has two outputs, an environment and an exit code', async () => {
    const session = await shell('echo "$A"; echo err >&2; exit 7', { env: { A: 'x=y z' } })
    expect(await readText(session.stream)).toEqual({ stdout: 'x=y z\n', stderr: 'err\n' })
    expect(await exitCodeOf(session)).toBe(7)
  })

  it('gets its arguments untouched', async () => {
    const words = ['a b', '$HOME', '', "it's", '"']
    const session = await start(['/bin/sh', '-c', String.raw`printf '%s\0' "$@"`, 'sh', ...words])
    expect((await readText(session.stream)).stdout).toBe(words.map((word) => `${word}\0`).join(''))
  })

  it('gives back 5 MB of any bytes, and sees the end of its input', async () => {
    const session = await start(['/bin/cat'])
    const bytes = randomBytes(5_000_000)
    const output = readOutput(session.stream)
    session.stream.end(bytes)
    const { stdout } = await output
    expect(stdout.equals(bytes)).toBe(true)
    expect(await exitCodeOf(session)).toBe(0)
  })

  it('goes on after the end of its input', async () => {
    const session = await shell('cat > /tmp/input; sha256sum < /tmp/input; echo done; exit 5')
    const bytes = randomBytes(300_000)
    session.stream.end(bytes)
    expect((await readText(session.stream)).stdout).toBe(`${createHash('sha256').update(bytes).digest('hex')}  -\ndone\n`)
    expect(await exitCodeOf(session)).toBe(5)
  })

  it('has no exit code while it runs', async () => {
    const session = await shell('echo up; cat')
    session.stream.write('x')
    await new Promise((resolve) => session.stream.once('data', resolve))
    expect(await session.exitCode()).toBeUndefined()
    session.stream.resume().end()
    expect(await exitCodeOf(session)).toBe(0)
  })

  it('has a terminal of the wanted size, and of every later one', async () => {
    const session = await shell('cat > /dev/null & while read -r line; do stty size; done', { tty: true, columns: 100, rows: 30 })
    let output = ''
    session.stream.setEncoding('utf8')
    const see = async (wanted: string) => {
      while (!output.includes(wanted)) output += await new Promise<string>((resolve) => session.stream.once('data', resolve))
    }
    session.stream.write('\n')
    await see('30 100\r\n')
    await session.resize(123, 45)
    session.stream.write('\n')
    await see('45 123\r\n')
    // End of transmission: the terminal's own end of input.
    session.stream.write('\u0004')
    await text(session.stream)
    expect(await exitCodeOf(session)).toBe(0)
  })

  it('may be resized after its end', async () => {
    const session = await shell('exit 3', { tty: true, columns: 80, rows: 24 })
    session.stream.resume()
    expect(await exitCodeOf(session)).toBe(3)
    await session.resize(100, 30)
  })

  it('is interrupted from a terminal', async () => {
    const session = await shell('echo up; exec sleep 1000', { tty: true })
    await new Promise((resolve) => session.stream.once('data', resolve))
    session.stream.resume().write('\u0003')
    expect(await exitCodeOf(session)).toBe(130)
  })

  it('of a program that does not exist fails at once, or ends with 126 or 127 and says why', async () => {
    const attempt = async () => {
      const session = await start(['/no/such/program'])
      const { stdout, stderr } = await readText(session.stream)
      return { words: stdout + stderr, outcome: await exitCodeOf(session) }
    }
    const { words, outcome } = await attempt().catch((error: HakuError) => ({ words: error.message, outcome: error.code }))
    expect(words).toContain('/no/such/program')
    expect([126, 127, 'engine.invalid']).toContain(outcome)
  })

  it('is refused in a container that does not run, or is not there', async () => {
    const { engine, create } = use()
    const spec = { command: ['/bin/true'], tty: false }
    await expect(engine.exec(await create(['/bin/true']), spec)).rejects.toMatchObject({ code: 'container.not_running' })
    await expect(engine.exec('hk-no-such-container', spec)).rejects.toMatchObject({ code: 'container.not_found' })
  })

  it('ends with its container', async () => {
    const { engine, run } = use()
    const other = await run(['/bin/sleep', 'infinity'])
    const session = await engine.exec(other, { command: ['/bin/sh', '-c', 'echo up; cat'], tty: false })
    await once(session.stream, 'readable')
    await engine.removeContainer(other)
    expect((await readText(session.stream)).stdout).toBe('up\n')
  })

  it('is run by who it is told', async () => {
    expect((await readText((await shell('id -u; id -g', { user: '12:34' })).stream)).stdout).toBe('12\n34\n')
  })
}
