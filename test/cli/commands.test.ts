import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { HostApi } from '#core/api/host.ts'
import type { Operation } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { container, environment, node, operation, version } from './support/samples.ts'
import { sendEvent, startStubHost } from './support/stub-host.ts'

const programs = usePrograms()
beforeEach(() => {
  rmSync(programs.home, { recursive: true, force: true })
  mkdirSync(programs.home)
})

const lines = (text: string) => text.trimEnd().split('\n').map((line) => line.split(/ {2,}/))

describe('lists', () => {
  const answers = {
    listContainers: () => ({ items: [container, { ...container, id: 'b'.repeat(64), name: 'other', status: 'exited' }, { ...container, image: 'evil\u001B[2J' }] }),
    listEnvironments: () => ({ items: [environment] }),
  }

  it.each([
    [['docker', 'list-containers'], [['ID', 'NAME', 'IMAGE', 'STATUS'], ['abcdef012345', 'my-env', 'ubuntu:22.04', 'Running'], ['bbbbbbbbbbbb', 'other', 'ubuntu:22.04', 'Stopped'], ['abcdef012345', 'my-env', String.raw`evil\u001b[2J`, 'Running']]],
    [['docker', 'list-tars'], [['NAME', 'LATEST', 'TIME', 'FILE', 'SIZE', 'NEW', 'NODES', 'OLDER'], ['my-env', '1700000000', '2026-02-03 04:05:06+00:00', 'my-env-1700000000.tar', '1.06 MB', '-', '-', '1600000000 (pinned)']]],
  ])('%j as a table for people', async (argv, table) => {
    const host = await startStubHost({ answers })
    const { code, stdout, stderr } = await programs.run('hakuriver', argv, { env: { ...host.env, TZ: 'UTC' } })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines(stdout)).toEqual(table)
  })

  it.each([
    [['docker', 'list-containers'], answers.listContainers().items],
    [['docker', 'list-tars'], [environment]],
  ])('%j --json as the API has them', async (argv, items) => {
    const host = await startStubHost({ answers })
    const { code, stdout } = await programs.run('hakuriver', [...argv, '--json'], { env: host.env })
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(items)
  })
})

describe('containers', () => {
  it.each<[string, keyof HostApi, () => unknown, string]>([
    ['start-container', 'startContainer', () => container, 'my-env Running\n'],
    ['stop-container', 'stopContainer', () => ({ ...container, status: 'exited' }), 'my-env Stopped\n'],
    ['delete-container', 'deleteContainer', () => undefined, 'my-env Deleted\n'],
  ])('%s', async (command, id, answer, text) => {
    const host = await startStubHost({ answers: { [id]: answer } })
    expect(await programs.run('hakuriver.docker', [command, 'my-env'], { env: host.env })).toEqual({ code: 0, stdout: text, stderr: '' })
    expect(host.requests).toMatchObject([{ id, params: { name: 'my-env' } }])
    const { stdout } = await programs.run('hakuriver.docker', [command, 'my-env', '--json'], { env: host.env })
    expect(JSON.parse(stdout)).toMatchObject({ name: 'my-env' })
  })

  it.each([
    ['container.not_found', 3],
    ['environment.busy', 1],
    ['engine.unavailable', 1],
    ['auth.role_refused', 4],
  ] as const)('a refusal with %s ends with %i', async (code, expected) => {
    const host = await startStubHost({ answers: { startContainer: () => { throw new HakuError(code, 'What happened. What to do.') } } })
    expect(await programs.run('hakuriver.docker', ['start-container', 'my-env'], { env: host.env })).toEqual({ code: expected, stdout: '', stderr: 'hakuriver docker: What happened. What to do.\n' })
    const json = await programs.run('hakuriver.docker', ['start-container', 'my-env', '--json'], { env: host.env })
    expect(JSON.parse(json.stderr)).toMatchObject({ code, detail: 'What happened. What to do.' })
  })
})

describe('operations', () => {
  const saving = { ...operation, progress: { phase: 'save', bytes: 0, totalBytes: 2e6, message: 'writing' } }
  const done = { ...operation, state: 'succeeded' as const, result: version }

  it('sends what create-container was told', async () => {
    const host = await startStubHost({ answers: { createContainer: () => operation, followOperation: ({ response }) => { sendEvent(response, { ...operation, state: 'succeeded', result: container }); response.end() } } })
    const argv = ['create-container', 'ubuntu:22.04', 'my-env', '--pull', '--if-not-exists', '--env', 'A=1', '--env', 'B=x=y', '--mount', '/data:/data:ro']
    const { code, stdout } = await programs.run('hakuriver.docker', argv, { env: host.env })
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'Container my-env of ubuntu:22.04 is running: abcdef012345\n' })
    expect(host.requests[0]?.body).toEqual({ name: 'my-env', image: 'ubuntu:22.04', pull: true, ifNotExists: true, env: { A: '1', B: 'x=y' }, mounts: ['/data:/data:ro'] })
  })

  it('shows each phase once, and the end', async () => {
    const host = await startStubHost({
      answers: {
        createVersion: () => operation,
        followOperation({ response }) {
          for (const event of [operation, operation, saving, { ...saving, progress: { ...saving.progress, bytes: 1e6 } }, done]) sendEvent(response, event)
          response.end()
        },
      },
    })
    expect(await programs.run('hakuriver.docker', ['create-tar', 'my-env', '--message', 'what is new'], { env: host.env })).toEqual({
      code: 0,
      stdout: 'Packaged my-env as my-env-1700000000.tar (1.06 MB)\n',
      stderr: 'stop  stopping the container\nsave  writing  2.00 MB\n',
    })
    expect(host.requests[0]?.body).toEqual({ note: 'what is new', author: userInfo().username })
  })

  it('joins again after a lost link', async () => {
    let times = 0
    const host = await startStubHost({
      answers: {
        createVersion: () => operation,
        followOperation({ response }) {
          times++
          sendEvent(response, times === 1 ? operation : times === 2 ? saving : done)
          if (times === 1) response.write('data: {"half', () => response.destroy())
          else response.end()
        },
      },
    })
    const { code, stdout, stderr } = await programs.run('hakuriver.docker', ['create-tar', 'my-env', '--json'], { env: host.env })
    expect({ code, times, stderr }).toEqual({ code: 0, times: 3, stderr: 'stop  stopping the container\nsave  writing  2.00 MB\n' })
    expect(JSON.parse(stdout)).toEqual(version)
  })

  it('ends as the operation failed', async () => {
    const problem = { type: 'x', title: 'x', status: 404, code: 'image.not_found', detail: 'No registry knows "nope:1".' }
    const host = await startStubHost({ answers: { createContainer: () => operation, followOperation: ({ response }) => { sendEvent(response, { ...operation, state: 'failed', error: problem }); response.end() } } })
    expect(await programs.run('hakuriver.docker', ['create-container', 'nope:1', 'my-env'], { env: host.env })).toEqual({ code: 3, stdout: '', stderr: 'hakuriver docker: No registry knows "nope:1".\n' })
  })

  it('prints the id alone when detached', async () => {
    const host = await startStubHost({ answers: { createVersion: () => operation } })
    expect(await programs.run('hakuriver.docker', ['create-tar', 'my-env', '--detach'], { env: host.env })).toEqual({ code: 0, stdout: '01operation\n', stderr: '' })
    expect(host.requests.map(({ id }) => id)).toEqual(['createVersion'])
  })

  it('asks the Host to undo it at Ctrl-C, and ends with 130', async () => {
    let finish = () => {}
    const host = await startStubHost({
      answers: {
        createVersion: () => operation,
        followOperation({ response }) {
          sendEvent(response, operation)
          finish = () => {
            sendEvent(response, { ...operation, state: 'cancelled' })
            response.end()
          }
        },
        cancelOperation() {
          finish()
          return operation
        },
      },
    })
    const running = programs.start('hakuriver.docker', ['create-tar', 'my-env'], { env: host.env })
    await running.seen('stderr', 'stopping')
    running.child.kill('SIGINT')
    const { code, stdout, stderr } = await running.finished
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
    expect(stderr).toContain('Cancelling: the Host undoes what was done.')
    expect(stderr).toContain('Cancelled; what was done is undone.\n')
    expect(host.requests.at(-1)).toMatchObject({ id: 'cancelOperation', params: { id: '01operation' } })
  })

  it('leaves at the second Ctrl-C', async () => {
    const host = await startStubHost({ answers: { createVersion: () => operation, followOperation: ({ response }) => sendEvent(response, operation), cancelOperation: () => operation } })
    const running = programs.start('hakuriver.docker', ['create-tar', 'my-env'], { env: host.env })
    await running.seen('stderr', 'stopping')
    running.child.kill('SIGINT')
    await running.seen('stderr', 'Cancelling')
    running.child.kill('SIGINT')
    expect((await running.finished).code).toBe(130)
  })
})

describe('client health', () => {
  const ok = { status: 'ok', version: '1.2.3', problems: [] }
  const sick = { ...ok, status: 'degraded', problems: [{ type: 'x', title: 'x', status: 503, code: 'engine.unavailable', detail: 'The Docker Engine does not answer.' }] }

  it.each([
    [ok, [node], 0],
    [ok, [], 0],
    [ok, [node, { ...node, hostname: 'node2', state: 'offline' }], 1],
    [sick, [node], 1],
  ])('of Host and nodes (%#)', async (health, nodes, code) => {
    const host = await startStubHost({ answers: { getHealth: () => health, listNodes: () => ({ items: nodes }) } })
    const people = await programs.run('hakuriver.client', ['health'], { env: host.env })
    expect(people.code).toBe(code)
    expect(people.stdout).toContain(`Host: ${health.status}, HakuRiver 1.2.3\n`)
    expect(people.stderr).toBe(health === sick ? 'The Docker Engine does not answer.\n' : '')
    const json = await programs.run('hakuriver.client', ['health', '--json'], { env: host.env })
    expect(JSON.parse(json.stdout)).toEqual({ host: health, nodes })
  })

  it('of one node', async () => {
    const host = await startStubHost({ answers: { getNode: () => ({ ...node, state: 'offline' }) } })
    expect((await programs.run('hakuriver.client', ['health', 'node1'], { env: host.env })).code).toBe(1)
  })
})

describe('nodes by name', () => {
  it('env prefetch says which nodes are meant', async () => {
    const ended: Operation = { ...operation, kind: 'prefetch_version', state: 'succeeded', result: version }
    const events = (request: { response: ServerResponse }) => void request.response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${JSON.stringify(ended)}\n\n`)
    const host = await startStubHost({ answers: { prefetchVersion: () => ({ ...operation, kind: 'prefetch_version' }), followOperation: events } })
    expect(await programs.run('hakuriver', ['env', 'prefetch', 'my-env@1700000000', '--nodes', 'a, b'], { env: host.env })).toMatchObject({ code: 0, stdout: 'my-env-1700000000.tar is on a, b\n' })
    expect(await programs.run('hakuriver', ['env', 'prefetch', 'my-env', '--all'], { env: host.env })).toMatchObject({ code: 0, stdout: 'my-env-1700000000.tar is on all nodes that are online\n' })
    const bodies = host.requests.filter(({ id }) => id === 'prefetchVersion').map(({ body }) => body)
    expect(bodies).toEqual([{ nodes: ['a', 'b'], version: 1_700_000_000 }, { nodes: [] }])
    for (const argv of [['my-env'], ['my-env', '--all', '--nodes', 'a'], ['my-env', '--nodes', 'a,,b']]) {
      expect(await programs.run('hakuriver', ['env', 'prefetch', ...argv], { env: host.env })).toMatchObject({ code: 2, stdout: '' })
    }
  })
})

describe('the Host and its token', () => {
  it('a Host that is away ends with 5', async () => {
    for (const argv of [['docker', 'list-tars'], ['task', 'stdout', 'x', '-f'], ['docker-shell', 'my-env'], ['client', 'health']]) {
      const { code, stdout, stderr } = await programs.run('hakuriver', [...argv, '--host', 'http://127.0.0.1:1'])
      expect({ code, stdout }).toEqual({ code: 5, stdout: '' })
      expect(stderr).toMatch(/^hakuriver [\w-]+: The Host at http:\/\/127\.0\.0\.1:1 can not be reached: ECONNREFUSED\. .*\n$/)
    }
  })

  it('no token, or a wrong one, ends with 4', async () => {
    const host = await startStubHost({ answers: { listNodes: () => ({ items: [] }) } })
    for (const token of ['', 'wrong']) {
      const { code, stderr } = await programs.run('hakuriver.client', ['nodes'], { env: { ...host.env, HAKURIVER_TOKEN: token } })
      expect({ code, stderr }).toEqual({ code: 4, stderr: 'hakuriver client: The token is not known here.\n' })
    }
  })

  it('finds the token in the order environment, configured file, state directory, login', async () => {
    const host = await startStubHost({ answers: { listNodes: () => ({ items: [] }) } })
    const { HAKURIVER_TOKEN: token, ...env } = host.env
    const state = join(programs.home, '.hakuriver/state')
    mkdirSync(state, { recursive: true })
    const nodes = async (more: NodeJS.ProcessEnv = {}) => (await programs.run('hakuriver.client', ['nodes'], { env: { ...env, ...more } })).code
    const file = join(programs.home, 'token')

    expect(await nodes()).toBe(4)
    expect((await programs.run('hakuriver', ['login'], { env, input: `${token}\n` })).code).toBe(0)
    expect(await nodes()).toBe(0)
    writeFileSync(join(state, 'admin.token'), 'wrong')
    expect(await nodes()).toBe(4)
    writeFileSync(file, `${token}\n`)
    expect(await nodes({ HAKURIVER_AUTH_TOKEN_FILE: file })).toBe(0)
    expect(await nodes({ HAKURIVER_AUTH_TOKEN_FILE: join(programs.home, 'missing') })).toBe(2)
    expect(await nodes({ HAKURIVER_TOKEN: token })).toBe(0)
    // Another Host than the configured one never sees the configured token.
    writeFileSync(join(state, 'admin.token'), token ?? '')
    rmSync(join(programs.home, '.hakuriver/credentials.json'))
    expect((await programs.run('hakuriver.client', ['nodes', '--host', host.url])).code).toBe(4)
    expect((await programs.run('hakuriver.client', ['nodes', '--host', host.url], { env })).code).toBe(0)
  })

  it('login keeps only a token that the Host takes, for its owner alone', async () => {
    const host = await startStubHost({ answers: { listNodes: () => ({ items: [] }) } })
    const file = join(programs.home, '.hakuriver/credentials.json')
    const login = (input: string) => programs.run('hakuriver', ['login', '--host', host.url], { input })
    expect((await login('wrong\n')).code).toBe(4)
    expect((await login('')).code).toBe(2)
    expect(() => statSync(file)).toThrow('ENOENT')
    expect(await login(`${host.token}\n`)).toEqual({ code: 0, stdout: `Logged in to ${host.url}\n`, stderr: '' })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ [host.url]: host.token })
  })
})
