import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { transform } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { programs as programNames } from '../../build/bins.mjs'
import { isGroup } from '#cli/framework/command.ts'
import { createLimit } from '#cli/framework/limit.ts'
import { version } from '#core/version.ts'
import { listCommands } from './support/commands.ts'
import { usePrograms } from './support/programs.ts'

const programs = usePrograms()
const names = Object.keys(programNames)

describe.each(names)('%s', (name) => {
  it('shows its help on standard output', async () => {
    const { code, stdout, stderr } = await programs.run(name, ['--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`USAGE ${['hakuriver', ...(programNames[name] ?? [])].join(' ')}`)
    // No colours where nobody sees them.
    expect(stdout).not.toContain('\u001B')
  })

  it('shows the version', async () => {
    expect(await programs.run(name, ['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it('is executable and finds itself through a link from anywhere', async () => {
    const file = join(programs.bin, name)
    expect(statSync(file).mode & 0o111).toBe(0o111)
    expect(readFileSync(file, 'utf8')).toMatch(/^#!\/bin\/sh\n':' \/\/; exec node (?:--max-semi-space-size=1 --heap-growing-percent=100 )?-- "\$0" "\$@"\n/)
    const elsewhere = mkdtempSync(join(tmpdir(), 'hakuriver-link-'))
    symlinkSync(file, join(elsewhere, 'linked'))
    expect((await programs.run(join(elsewhere, 'linked'), ['--version'], { cwd: '/' })).stdout).toBe(`${version}\n`)
    rmSync(elsewhere, { recursive: true })
  })

  it('is written in a syntax that an old Node can read', async () => {
    const source = readFileSync(join(programs.bin, name), 'utf8')
    await expect(transform(source, { target: 'es5', supported: { 'const-and-let': false, arrow: false } })).resolves.toMatchObject({ warnings: [] })
    expect(source).not.toContain('import(')
  })

  it('says to an old Node that it is too old', () => {
    const directory = mkdtempSync(join(tmpdir(), 'hakuriver-old-'))
    writeFileSync(join(directory, 'old.cjs'), "Object.defineProperty(process, 'versions', { value: { node: '18.20.0' } })")
    const { status, stderr } = spawnSync(join(programs.bin, name), ['--help'], { env: programs.env({ NODE_OPTIONS: `--require ${join(directory, 'old.cjs')}` }), encoding: 'utf8' })
    rmSync(directory, { recursive: true })
    expect(status).toBe(1)
    expect(stderr).toMatch(/^HakuRiver needs Node 20\.19 or newer; this is Node 18\.20\.0 .*\n$/)
  })
})

it.each(listCommands().filter(({ entry }) => isGroup(entry)).map(({ path }) => path))('hakuriver %s without a command shows the help on standard error', async (...path) => {
  const { code, stdout, stderr } = await programs.run('hakuriver', path)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(`USAGE hakuriver ${path.join(' ')}`)
})

it.each([
  [['dokcer'], 'hakuriver: "dokcer" is not a command of hakuriver; did you mean "docker"?\nTry "hakuriver --help".\n'],
  [['docker', 'list-container'], 'hakuriver docker: "list-container" is not a command of hakuriver docker; did you mean "list-containers"?\nTry "hakuriver docker --help".\n'],
  [['docker', 'zzz'], 'hakuriver docker: "zzz" is not a command of hakuriver docker.\nTry "hakuriver docker --help".\n'],
  [['docker', 'toString'], 'hakuriver docker: "toString" is not a command of hakuriver docker.\nTry "hakuriver docker --help".\n'],
  [['docker', '--bogus', 'list-tars'], 'hakuriver docker: "--bogus" is not an option here.\nTry "hakuriver docker --help".\n'],
  [['docker', 'list-tars', '--bogus'], 'hakuriver docker: "--bogus" is not an option here.\nTry "hakuriver docker list-tars --help".\n'],
  [['task', 'command', 'x', 'freeze'], 'hakuriver task: ACTION must be pause or resume, not "freeze".\nTry "hakuriver task command --help".\n'],
  [['simulate', '--clients', '4'], 'hakuriver simulate: --clients says nothing without --singles.\nTry "hakuriver simulate --help".\n'],
  [['docker', 'create-tar', '-x'], 'hakuriver docker: "-x" is not an option here.\nTry "hakuriver docker create-tar --help".\n'],
  [['docker', 'create-tar', '\u001B[31m'], String.raw`hakuriver docker: "\u001b[31m" is not a valid environment name.`],
  [['--config', '/nowhere/x.toml', 'docker', 'list-tars'], 'hakuriver docker: There is no configuration file /nowhere/x.toml.'],
  [['docker-shell', 'my-env', '--host', 'ftp://x'], 'hakuriver docker-shell: "ftp://x" is not the URL of a Host.'],
])('%j is a mistake of usage', async (argv, message) => {
  const { code, stdout, stderr } = await programs.run('hakuriver', argv)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr.slice(0, message.length)).toBe(message)
})

it.each(['a', 'My_Env', 'a/b', 'a..b', 'x y', 'x'.repeat(64), 'ünïcode'])('%s is no environment, which is told without a Host', async (name) => {
  for (const argv of [['docker', 'create-tar', name], ['docker', 'create-container', 'ubuntu', name], ['docker-shell', name], ['task', 'submit', '--container', name, '--', 'true']]) {
    const { code, stderr } = await programs.run('hakuriver', argv)
    expect(code).toBe(2)
    expect(stderr).toContain('is not a valid environment name')
  }
})

it('tells errors as JSON where JSON is wanted', async () => {
  const { code, stderr } = await programs.run('hakuriver.docker', ['list-tars', '--json', '--bogus'])
  expect(code).toBe(2)
  expect(JSON.parse(stderr)).toMatchObject({ code: 'usage.invalid', status: 400 })
})

describe('options that Node has too', () => {
  const submit = ['submit', '--container', 'env', '--host', '127.0.0.1:1']

  it.each([
    ['hakuriver.task', [...submit, '--env-file', '/nosuch', '--', 'true'], 2, /^hakuriver task: --env-file "\/nosuch" can not be read: ENOENT/],
    ['hakuriver.task', [...submit, '--env-file=/nosuch', '--', 'true'], 2, /^hakuriver task: --env-file "\/nosuch" can not be read: ENOENT/],
    ['hakuriver.task', [...submit, '--require', '/nosuch', '--', 'true'], 2, /^hakuriver task: "--require" is not an option here/],
  ])('%s %j are its own', async (name, args, code, words) => {
    const finished = await programs.run(name, args)
    expect(finished).toMatchObject({ code, stderr: expect.stringMatching(words) })
  })

  it('go to what hakurun runs', async () => {
    expect(await programs.run('hakurun', ['echo', '--env-file', '/nosuch'])).toEqual({ code: 0, stdout: '--env-file /nosuch\n', stderr: '' })
  })

  it('leave files and pipes for us, and Node as it is', async () => {
    const preview = (file: string) => programs.run('bash', ['-c', `hakuriver.task submit --container env --host 127.0.0.1:1 --env-file ${file} -- true`])
    // A variable that is no name is told with its line: so it was read, and by us.
    expect(await preview("<(echo '1 2=3')")).toMatchObject({ code: 2, stderr: expect.stringContaining('1 2') })
    expect(await preview("<(echo 'NODE_OPTIONS=--nosuch')")).toMatchObject({ code: 5, stderr: expect.stringContaining('can not be reached') })
  })
})

it('ends quietly when nobody reads on', async () => {
  const running = programs.start('sh', ['-c', 'hakuriver --help; echo "ended $?" >&2'])
  running.child.stdout.destroy()
  const { stderr } = await running.finished
  expect(stderr).toMatch(/^ended (?:0|141)\n$/)
})

describe('hakuriver.init config', () => {
  it('writes what is a valid configuration, and never over a file', async () => {
    const file = join(programs.home, '.hakuriver/config.toml')
    expect(await programs.run('hakuriver.init', ['config'])).toEqual({ code: 0, stdout: `${file}\n`, stderr: '' })
    const text = readFileSync(file, 'utf8')
    expect(text).toContain('[network]\n# Address the Host listens on')
    expect(text).toContain('\n# host_port = 8000\n')
    // Read back by another command, with every default made a value.
    writeFileSync(file, text.replaceAll(/^# (\w+ = )/gm, '$1'))
    expect((await programs.run('hakuriver.docker', ['list-tars', '--host', '127.0.0.1:1'])).code).toBe(5)
    const changed = readFileSync(file, 'utf8')
    expect((await programs.run('hakuriver.init', ['config'])).code).toBe(0)
    expect(readFileSync(file, 'utf8')).toBe(changed)
  })
})

it.each(['host', 'runner'])('hakuriver.%s tells of a broken configuration in one line', async (name) => {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-config-'))
  writeFileSync(join(directory, 'bad.toml'), '[network]\nhost_prt = 1\n')
  const { code, stdout, stderr } = await programs.run(`hakuriver.${name}`, ['--config', join(directory, 'bad.toml')])
  rmSync(directory, { recursive: true })
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toMatch(new RegExp(`^hakuriver ${name}: .*network\\.host_prt.*did you mean "network\\.host_port".*\n$`))
})

it('takes the help of everything into account: each command answers --help with its own usage', async () => {
  const limit = createLimit(4)
  await Promise.all(listCommands().map(({ path, entry }) => limit(async () => {
    const { code, stdout } = await programs.run('hakuriver', [...path, '--help'])
    expect(code).toBe(0)
    expect(stdout).toContain(`USAGE hakuriver ${path.join(' ')}`)
    expect(stdout).toContain(entry.description)
  })))
})

it('is interrupted with 130', async () => {
  // A Host that takes connections and never answers.
  const { createServer } = await import('node:net')
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  const connected = once(server, 'connection')
  const running = programs.start('hakuriver.client', ['nodes', '--host', `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`])
  const [socket] = await connected
  running.child.kill('SIGINT')
  expect(await running.finished).toEqual({ code: 130, stdout: '', stderr: '' })
  socket.destroy()
  server.close()
})
