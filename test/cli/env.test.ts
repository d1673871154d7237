import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { DeletionPlan, Version, VersionDetails, VersionDiff } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { openTerminal } from '#test/support/terminal.ts'
import { usePrograms } from './support/programs.ts'
import { container, environment, operation, task, version } from './support/samples.ts'
import { sendEvent, startStubHost } from './support/stub-host.ts'

const programs = usePrograms()
beforeEach(() => {
  rmSync(programs.home, { recursive: true, force: true })
  mkdirSync(programs.home)
})

const lines = (text: string) => text.trimEnd().split('\n').map((line) => line.split(/ {2,}/))
const old = environment.older[0] as Version
const rich: Version = { ...version, author: 'ann', note: 'with \u001B[31mcolour', newBytes: 1000, restores: 1_600_000_000, nodes: ['n1', 'n2'], tasks: ['01task'] }

describe('versions', () => {
  it('env list', async () => {
    const items = [{ ...environment, latest: rich }, { name: 'my-env-gpu', latest: { ...version, environment: 'my-env-gpu', current: false, candidate: true }, older: [] }]
    const host = await startStubHost({ answers: { listEnvironments: () => ({ items }) } })
    const { code, stdout, stderr } = await programs.run('hakuriver', ['env', 'list'], { env: { ...host.env, TZ: 'UTC' } })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines(stdout)).toEqual([
      ['NAME', 'CURRENT', 'CREATED', 'SIZE', 'NEW', 'VERSIONS', 'NODES', 'TASKS', 'MESSAGE'],
      ['my-env', '1700000000', '2026-02-03 04:05:06+00:00', '1.06 MB', '1.00 kB', '2', 'n1, n2', '1', String.raw`with \u001b[31mcolour`],
      ['my-env-gpu', '-', '2026-02-03 04:05:06+00:00', '1.06 MB', '-', '1', '-', '0', '-'],
    ])
    expect(JSON.parse((await programs.run('hakuriver', ['env', 'list', '--json'], { env: host.env })).stdout)).toEqual(items)
  })

  it('env log', async () => {
    const host = await startStubHost({ answers: { getEnvironment: () => ({ ...environment, latest: rich }) } })
    const { stdout } = await programs.run('hakuriver', ['env', 'log', 'my-env'], { env: { ...host.env, TZ: 'UTC' } })
    expect(lines(stdout)).toEqual([
      ['VERSION', 'CREATED', 'SIZE', 'NEW', 'AUTHOR', 'STATE', 'NODES', 'TASKS', 'MESSAGE'],
      ['1700000000', '2026-02-03 04:05:06+00:00', '1.06 MB', '1.00 kB', 'ann', 'current, restores 1600000000', 'n1, n2', '01task', String.raw`with \u001b[31mcolour`],
      ['1600000000', '2026-02-03 04:05:06+00:00', '1.06 MB', '-', '-', 'pinned', '-', '-', '-'],
    ])
    expect(JSON.parse((await programs.run('hakuriver', ['env', 'log', 'my-env', '--json'], { env: host.env })).stdout)).toEqual([rich, old])
  })

  it.each([['my-env', 1_700_000_000], ['my-env@1600000000', 1_600_000_000]])('env show %s', async (reference, number) => {
    const details: VersionDetails = { ...rich, damage: 'torn', architecture: 'amd64', os: 'linux', layers: [{ digest: `sha256:${'a'.repeat(64)}`, size: 5000, isBase: true }, { digest: `sha256:${'b'.repeat(64)}`, size: 1000, isBase: false }] }
    const host = await startStubHost({ answers: { getEnvironment: () => environment, getVersion: () => details } })
    const { code, stdout } = await programs.run('hakuriver', ['env', 'show', reference], { env: host.env })
    expect(code).toBe(0)
    for (const text of ['Version:     1700000000', 'State:       current, damaged, restores 1600000000', 'Damage:      torn', 'Platform:    linux/amd64', 'New:         1.00 kB', 'Nodes:       n1, n2', 'the base image', 'the environment']) expect(stdout).toContain(text)
    expect(stdout).not.toContain('\u001B')
    expect(host.requests.at(-1)).toMatchObject({ id: 'getVersion', params: { name: 'my-env', version: String(number) } })
    expect(JSON.parse((await programs.run('hakuriver', ['env', 'show', reference, '--json'], { env: host.env })).stdout)).toEqual(details)
  })

  it.each([[null, true], ['its manifest is not JSON.', false]])('env show tells of other tools only where it is so (damage: %s)', async (damage, told) => {
    const details: VersionDetails = { ...version, configDigest: null, damage, architecture: null, os: null, layers: [] }
    const host = await startStubHost({ answers: { getVersion: () => details } })
    const { stdout } = await programs.run('hakuriver', ['env', 'show', 'my-env@1700000000'], { env: host.env })
    expect(stdout.includes('made by other tools')).toBe(told)
  })

  it.each([
    [[], {}],
    [['1600000000'], { from: '1600000000' }],
    [['1600000000', '1700000000'], { from: '1600000000', to: '1700000000' }],
    [['--limit', '5'], { limit: '5' }],
  ])('env diff my-env %j', async (argv, query) => {
    const diff: VersionDiff = {
      environment: 'my-env', from: 1_600_000_000, to: 1_700_000_000, truncated: true,
      files: [{ path: 'etc/a', change: 'changed', type: 'file', before: 10, after: 2000 }, { path: 'etc/\u0007b', change: 'added', type: 'symlink', before: null, after: 0 }, { path: 'etc/c', change: 'deleted', type: 'file', before: 7, after: null }, { path: 'etc/d', change: 'added', type: 'directory', before: null, after: 0 }],
      totals: { added: { files: 2, bytes: 0 }, changed: { files: 1, bytes: 2000 }, deleted: { files: 1, bytes: 7 } },
      packages: [{ manager: 'pip', name: 'numpy', before: '1.0', after: '2.0' }, { manager: 'apt', name: 'git', before: null, after: '2.39' }],
    }
    let asked: unknown
    const host = await startStubHost({ answers: { diffVersions: (request) => ((asked = Object.fromEntries(request.query)), diff) } })
    const { code, stdout } = await programs.run('hakuriver', ['env', 'diff', 'my-env', ...argv], { env: host.env })
    expect({ code, asked }).toEqual({ code: 0, asked: query })
    expect(stdout).toBe(`my-env: 1600000000 → 1700000000

MANAGER   PACKAGE   1600000000   1700000000
pip       numpy     1.0          2.0
apt       git       -            2.39

~ /etc/a  10 B → 2.00 kB
+ /etc/\\u0007b  symlink
- /etc/c  7 B
+ /etc/d/  directory

… and more files: see --limit

2 added (0 B), 1 changed (2.00 kB), 1 deleted (7 B)
`)
    expect(JSON.parse((await programs.run('hakuriver', ['env', 'diff', 'my-env', ...argv, '--json'], { env: host.env })).stdout)).toEqual(diff)
  })

  it.each(['pin', 'unpin'] as const)('env %s', async (command) => {
    const host = await startStubHost({ answers: { pinVersion: () => version, unpinVersion: () => version } })
    expect(await programs.run('hakuriver', ['env', command, 'my-env@1700000000'], { env: host.env })).toEqual({ code: 0, stdout: `my-env@1700000000 ${command === 'pin' ? 'is pinned' : 'is not pinned any more'}\n`, stderr: '' })
    expect(host.requests).toMatchObject([{ id: `${command}Version`, params: { name: 'my-env', version: '1700000000' } }])
  })

  it.each([
    [['env', 'pin', 'my-env'], 'Write my-env@VERSION'],
    [['env', 'show', 'my-env@'], '"" is not a version'],
    [['env', 'show', 'my-env@latest'], '"latest" is not a version'],
    [['env', 'log', 'my-env@1'], 'is not a valid environment name'],
    [['env', 'rollback', 'my-env', 'x'], '"x" is not a version'],
    [['env', 'diff', 'my-env', '1', '2', '3'], 'one argument too many'],
    [['env', 'diff', 'my-env', '--limit', '-1'], '--limit'],
    [['env', 'import', 'x.tar'], '--name is missing. Write --name NAME.\n'],
    [['env', 'import', '/nowhere/x.tar', '--name', 'my-env'], '/nowhere/x.tar can not be read'],
    [['env', 'import', '.', '--name', 'my-env'], 'it is a directory'],
    [['env', 'fork', 'my-env', 'My_Env'], 'is not a valid environment name'],
    [['docker', 'create-tar', 'my-env', '--keep', '0'], '--keep "0" is not a whole number from 1 to 10000'],
    [['docker', 'create-tar', 'my-env', '--test', ''], '--test is empty'],
    [['task', 'submit', '--container', 'my-env@x', '--', 'true'], '"x" is not a version'],
  ])('%j is a mistake of usage', async (argv, message) => {
    const { code, stdout, stderr } = await programs.run('hakuriver', argv)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(message)
  })

  it('task submit in a version', async () => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [task] }) } })
    await programs.run('hakuriver.task', ['submit', '--container', 'my-env@1600000000', '--', 'true'], { env: host.env })
    expect(host.requests[0]?.body).toMatchObject({ environment: 'my-env', version: 1_600_000_000 })
  })
})

describe('operations', () => {
  const follow = (end: object) => ({ response }: { response: Parameters<typeof sendEvent>[0] }) => {
    sendEvent(response, { ...operation, ...end })
    response.end()
  }

  it('env rollback', async () => {
    const host = await startStubHost({ answers: { rollbackEnvironment: () => operation, followOperation: follow({ state: 'succeeded', result: rich }) } })
    expect(await programs.run('hakuriver', ['env', 'rollback', 'my-env', '1600000000', '-m', 'why'], { env: host.env })).toMatchObject({ code: 0, stdout: 'my-env is at version 1700000000, which is 1600000000 again\n' })
    expect(host.requests[0]).toMatchObject({ id: 'rollbackEnvironment', params: { name: 'my-env' }, body: { version: 1_600_000_000, note: 'why', author: userInfo().username } })
    expect(await programs.run('hakuriver', ['env', 'rollback', 'my-env', '1600000000', '--detach'], { env: host.env })).toMatchObject({ code: 0, stdout: '01operation\n' })
  })

  it.each([['my-env', '1700000000'], ['my-env@1600000000', '1600000000']])('env verify %s', async (reference, number) => {
    const host = await startStubHost({ answers: { getEnvironment: () => environment, verifyVersion: () => operation, followOperation: follow({ state: 'succeeded', result: version }) } })
    expect(await programs.run('hakuriver', ['env', 'verify', reference], { env: host.env })).toMatchObject({ code: 0, stdout: 'my-env-1700000000.tar is whole\n' })
    expect(host.requests.find(({ id }) => id === 'verifyVersion')?.params).toEqual({ name: 'my-env', version: number })
    const problem = { type: 'x', title: 'x', status: 422, code: 'tarball.damaged', detail: 'my-env-1700000000.tar is damaged: so and so.' }
    const damaged = await startStubHost({ answers: { getEnvironment: () => environment, verifyVersion: () => operation, followOperation: follow({ state: 'failed', error: problem }) } })
    expect(await programs.run('hakuriver', ['env', 'verify', reference], { env: damaged.env })).toMatchObject({ code: 1, stdout: '', stderr: 'hakuriver env: my-env-1700000000.tar is damaged: so and so.\n' })
  })

  it.each([['my-env', { name: 'new-env' }], ['my-env@1600000000', { name: 'new-env', version: 1_600_000_000 }]])('env fork %s', async (reference, body) => {
    const host = await startStubHost({ answers: { forkEnvironment: () => operation, followOperation: follow({ state: 'succeeded', result: container }) } })
    expect(await programs.run('hakuriver', ['env', 'fork', reference, 'new-env'], { env: host.env })).toMatchObject({ code: 0, stdout: 'Container my-env of ubuntu:22.04 is running: abcdef012345\n' })
    expect(host.requests[0]).toMatchObject({ id: 'forkEnvironment', params: { name: 'my-env' }, body })
  })

  it('create-tar hands on how many stay, the test and who asks', async () => {
    const host = await startStubHost({ answers: { createVersion: () => operation, followOperation: follow({ state: 'succeeded', result: version }) } })
    expect((await programs.run('hakuriver.docker', ['create-tar', 'my-env', '--keep', '3', '--test', 'python -c "import numpy"'], { env: host.env })).code).toBe(0)
    expect(host.requests[0]?.body).toEqual({ note: '', author: userInfo().username, keep: 3, test: 'python -c "import numpy"' })
  })

  it('create-tar shows the last lines of a test that failed, as lines', async () => {
    const problem = { type: 'x', title: 'x', status: 422, code: 'version.test_failed', detail: 'The test failed. Its last lines:\nTraceback:\n  No \u001B[31mnumpy' }
    const host = await startStubHost({ answers: { createVersion: () => operation, followOperation: follow({ state: 'failed', error: problem }) } })
    const { code, stderr } = await programs.run('hakuriver.docker', ['create-tar', 'my-env', '--test', 'false'], { env: host.env })
    expect(code).toBe(1)
    expect(stderr).toBe(`hakuriver docker: The test failed. Its last lines:\nTraceback:\n  No ${String.raw`\u001b[31mnumpy`}\n`)
  })
})

describe('env delete', () => {
  const plan: DeletionPlan = { environment: 'my-env', versions: [version, old], obstacles: [], bytes: 2_120_000 }
  const answers = (more: Partial<DeletionPlan> = {}) => ({ planDeletion: () => ({ ...plan, ...more }), deleteVersions: () => ({ environment: 'my-env', deleted: [1_700_000_000, 1_600_000_000], failedTasks: [], bytes: 2_120_000 }) })
  const pinned = { obstacles: [{ version: 1_600_000_000, kind: 'pinned' as const, task: null, forcible: true }] }
  const queued = { obstacles: [{ version: 1_600_000_000, kind: 'queued' as const, task: '01queued', forcible: true }] }
  const given = { obstacles: [{ version: 1_600_000_000, kind: 'task' as const, task: '01running', forcible: false }] }

  it('deletes exactly what was planned, and says that the container stays', async () => {
    const host = await startStubHost({ answers: answers() })
    const { code, stdout, stderr } = await programs.run('hakuriver', ['env', 'delete', 'my-env', '--yes'], { env: host.env })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^Deleted 1700000000, 1600000000 of my-env \(2\.12 MB\)\. Its container, if it has one, stays/)
    expect(host.requests).toMatchObject([{ id: 'planDeletion' }, { id: 'deleteVersions', body: { versions: [1_700_000_000, 1_600_000_000], force: false } }])
  })

  it('of one version asks for that one', async () => {
    let query = ''
    const host = await startStubHost({ answers: { ...answers(), planDeletion: (request) => ((query = String(request.query)), { ...plan, versions: [old] }) } })
    expect((await programs.run('hakuriver', ['env', 'delete', 'my-env@1600000000', '--yes', '--json'], { env: host.env })).code).toBe(0)
    expect(query).toBe('version=1600000000')
    expect(host.requests[1]?.body).toEqual({ versions: [1_600_000_000], force: false })
  })

  it('--dry-run shows the plan and changes nothing', async () => {
    const host = await startStubHost({ answers: answers(pinned) })
    const { code, stdout } = await programs.run('hakuriver', ['env', 'delete', 'my-env', '--dry-run'], { env: host.env })
    expect(code).toBe(0)
    for (const text of ['To be deleted of my-env (2.12 MB)', '1700000000', 'The current version is among them', 'would be refused: version 1600000000 is pinned', 'The container of my-env, if it has one, stays']) expect(stdout).toContain(text)
    expect(JSON.parse((await programs.run('hakuriver', ['env', 'delete', 'my-env', '--dry-run', '--json'], { env: host.env })).stdout)).toEqual({ ...plan, ...pinned })
    expect(host.requests.map(({ id }) => id)).toEqual(['planDeletion', 'planDeletion'])
  })

  it('needs --yes where nobody can be asked', async () => {
    const host = await startStubHost({ answers: answers() })
    const { code, stderr } = await programs.run('hakuriver', ['env', 'delete', 'my-env'], { env: host.env })
    expect(code).toBe(2)
    expect(stderr).toContain('Give --yes')
    expect(host.requests.map(({ id }) => id)).toEqual(['planDeletion'])
  })

  it.each([
    [pinned, [], 1, 'version 1600000000 is pinned. Give --force'],
    [queued, [], 1, 'needed by the queued task 01queued. Give --force'],
    [given, [], 1, 'needed by the task 01running. Wait for the tasks'],
    [given, ['--force'], 1, 'needed by the task 01running'],
    [pinned, ['--force'], 0, ''],
    [queued, ['--force'], 0, ''],
  ] as const)('%j with %j ends with %i', async (obstacles, options, code, message) => {
    const host = await startStubHost({ answers: answers(obstacles as Partial<DeletionPlan>) })
    const finished = await programs.run('hakuriver', ['env', 'delete', 'my-env', '--yes', ...options], { env: host.env })
    expect(finished.code).toBe(code)
    expect(finished.stderr).toContain(message)
    expect(host.requests.map(({ id }) => id)).toEqual(code === 0 ? ['planDeletion', 'deleteVersions'] : ['planDeletion'])
  })

  it.each([['y\r', 0, ['planDeletion', 'deleteVersions']], ['n\r', 1, ['planDeletion']], ['\r', 1, ['planDeletion']], ['\u0003', 130, ['planDeletion']]])('asks at a terminal, and takes %j for an answer', async (answer, code, requests) => {
    const host = await startStubHost({ answers: answers(queued) })
    const terminal = openTerminal('hakuriver', ['env', 'delete', 'my-env', '--force'], programs.env(host.env))
    await terminal.shows('Delete this? [y/N]')
    expect(terminal.screen).toContain('Queued tasks that will fail: 01queued')
    terminal.type(answer)
    expect(await terminal.exited).toBe(code)
    expect(host.requests.map(({ id }) => id)).toEqual(requests)
  })
})

describe('archives', () => {
  const bytes = Buffer.alloc(3_000_000, 'archive')
  const answers = { getEnvironment: () => environment, exportVersion: ({ response }: { response: Parameters<typeof sendEvent>[0] }) => void response.writeHead(200, { 'content-type': 'application/x-tar' }).end(bytes) }

  it('env export to standard output, of the current version', async () => {
    const host = await startStubHost({ answers })
    const { code, stdout, stderr } = await programs.run('sh', ['-c', 'hakuriver env export my-env | sha256sum; hakuriver env export my-env@1600000000 | wc -c'], { env: host.env })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { createHash } = await import('node:crypto')
    expect(stdout.trim().split(/\s+/)).toEqual([createHash('sha256').update(bytes).digest('hex'), '-', '3000000'])
    expect(host.requests.filter(({ id }) => id === 'exportVersion').map(({ params }) => params['version'])).toEqual(['1700000000', '1600000000'])
  })

  it('env export -o, whole or not at all', async () => {
    const host = await startStubHost({ answers })
    const file = join(programs.home, 'out.tar')
    expect(await programs.run('hakuriver', ['env', 'export', 'my-env', '-o', file], { env: host.env })).toMatchObject({ code: 0, stdout: '' })
    expect(readFileSync(file).equals(bytes)).toBe(true)
    const broken = await startStubHost({ answers: { ...answers, exportVersion: ({ response }) => void response.writeHead(200, { 'content-type': 'application/x-tar' }).write(bytes, () => response.destroy()) } })
    rmSync(file)
    const { code, stderr } = await programs.run('hakuriver', ['env', 'export', 'my-env', '-o', file], { env: broken.env })
    expect(code).toBe(1)
    expect(stderr).toMatch(/The archive broke off after .* can not be loaded/)
    expect(readdirSync(programs.home)).toEqual([])
    const out = await programs.run('sh', ['-c', 'hakuriver env export my-env > /dev/null'], { env: broken.env })
    expect(out.code).toBe(1)
    expect((await programs.run('hakuriver', ['env', 'export', 'my-env', '-o', '/nowhere/out.tar'], { env: host.env })).code).toBe(2)
  })

  it('env export -o writes what is no file in place, and leaves links what they are', async () => {
    const host = await startStubHost({ answers })
    const at = (name: string) => join(programs.home, name)
    execFileSync('mkfifo', [at('fifo')])
    const piped = await programs.run('sh', ['-c', `wc -c < fifo & hakuriver env export my-env -o fifo && wait`], { env: host.env, cwd: programs.home })
    expect({ ...piped, stdout: piped.stdout.trim() }).toEqual({ code: 0, stdout: '3000000', stderr: '' })
    expect(lstatSync(at('fifo')).isFIFO()).toBe(true)
    mkdirSync(at('store'))
    writeFileSync(at('store/old.tar'), 'old')
    for (const target of ['store/old.tar', 'store/new.tar']) {
      symlinkSync(target, at('link'))
      expect(await programs.run('hakuriver', ['env', 'export', 'my-env', '-o', at('link')], { env: host.env })).toMatchObject({ code: 0 })
      expect(readlinkSync(at('link'))).toBe(target)
      expect(readFileSync(at(target)).equals(bytes)).toBe(true)
      rmSync(at('link'))
    }
    expect(readdirSync(at('store')).sort()).toEqual(['new.tar', 'old.tar'])
    expect((await programs.run('sh', ['-c', 'hakuriver env export my-env -o - | wc -c'], { env: host.env, cwd: programs.home })).stdout.trim()).toBe('3000000')
    expect(readdirSync(programs.home).sort()).toEqual(['fifo', 'store'])
  })

  it.each([['.', 'it is a directory'], ['loop', 'ELOOP'], ['', '--output is empty']])('env export -o %j is refused before anything is asked of the Host', async (output, message) => {
    const host = await startStubHost({ answers })
    symlinkSync('loop', join(programs.home, 'loop'))
    const { code, stderr } = await programs.run('hakuriver', ['env', 'export', 'my-env', '-o', output], { env: host.env, cwd: programs.home })
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) })
    expect(host.requests).toEqual([])
  })

  it('env export is nothing for a terminal', async () => {
    const host = await startStubHost({ answers })
    const terminal = openTerminal('hakuriver', ['env', 'export', 'my-env'], programs.env(host.env))
    expect(await terminal.exited).toBe(2)
    expect(terminal.screen).toContain('An archive is nothing for a terminal')
    expect(host.requests).toEqual([])
  })

  it.each(['file', 'pipe'])('env import of a %s sends it as it is', async (way) => {
    let query = ''
    const host = await startStubHost({ answers: { importVersion: (request) => ((query = String(request.query)), { ...version, warnings: ['only for arm64'] }) } })
    const file = join(programs.home, 'in.tar')
    writeFileSync(file, bytes)
    const { code, stdout, stderr } = await programs.run('sh', ['-c', way === 'file' ? `hakuriver env import ${file} --name my-env -m "from elsewhere"` : `cat ${file} | hakuriver env import - --name my-env -m "from elsewhere"`], { env: host.env })
    expect({ code, stdout }).toEqual({ code: 0, stdout: `Imported ${way === 'file' ? file : '-'} as my-env-1700000000.tar (1.06 MB)\n` })
    expect(stderr).toContain('upload')
    expect(stderr).toContain('Warning: only for arm64')
    expect(new URLSearchParams(query).get('note')).toBe('from elsewhere')
    expect(bytes.equals(host.requests[0]?.body as Buffer)).toBe(true)
  })

  it('env import tells why the Host refuses', async () => {
    const host = await startStubHost({ answers: { importVersion: () => { throw new HakuError('import.refused', 'The archive can not be imported: it holds 2 images.') } } })
    const { code, stderr } = await programs.run('hakuriver', ['env', 'import', '-', '--name', 'my-env'], { env: host.env, input: 'x' })
    expect(code).toBe(1)
    expect(stderr).toContain('hakuriver env: The archive can not be imported: it holds 2 images.')
  })
})
