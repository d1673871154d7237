import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { HostApi } from '#core/api/host.ts'
import type { Operation, SubmitPreview, Task } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { container, endedTask, environment, node, operation, task, version } from './support/samples.ts'
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
    listNodes: () => ({ items: [node] }),
    listTasks: () => ({ items: [endedTask(3)], nextCursor: null }),
  }

  it.each([
    [['docker', 'list-containers'], [['ID', 'NAME', 'IMAGE', 'STATUS'], ['abcdef012345', 'my-env', 'ubuntu:22.04', 'Running'], ['bbbbbbbbbbbb', 'other', 'ubuntu:22.04', 'Stopped'], ['abcdef012345', 'my-env', String.raw`evil\u001b[2J`, 'Running']]],
    [['docker', 'list-tars'], [['NAME', 'LATEST', 'TIME', 'FILE', 'SIZE', 'NEW', 'NODES', 'OLDER'], ['my-env', '1700000000', '2026-02-03 04:05:06', 'my-env-1700000000.tar', '1.06 MB', '-', '-', '1600000000 (pinned)']]],
    [['client', 'nodes'], [['NODE', 'STATE', 'CORES', 'MEMORY', 'CPU', 'ENGINE', 'LAST HEARTBEAT'], ['node1', 'online', '2/8', '1.00 GB/16.0 GB', '12%', '28.0.0', '2026-02-03 04:05:06']]],
    [['task', 'list'], [['ID', 'STATE', 'EXIT', 'NODE', 'ENVIRONMENT', 'SUBMITTED', 'COMMAND'], ['01aaaaaaaaaaaaaaaaaaaaaaaa', 'failed', '3', 'node1', 'my-env', '2026-02-03 04:05:06', 'echo hello']]],
  ])('%j as a table for people', async (argv, table) => {
    const host = await startStubHost({ answers })
    const { code, stdout, stderr } = await programs.run('hakuriver', argv, { env: { ...host.env, TZ: 'UTC' } })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines(stdout)).toEqual(table)
  })

  it.each([
    [['docker', 'list-containers'], answers.listContainers().items],
    [['docker', 'list-tars'], [environment]],
    [['client', 'nodes'], [node]],
    [['task', 'list'], [endedTask(3)]],
  ])('%j --json as the API has them', async (argv, items) => {
    const host = await startStubHost({ answers })
    const { code, stdout } = await programs.run('hakuriver', [...argv, '--json'], { env: host.env })
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(items)
  })

  it('hands the filters of task list on', async () => {
    let query = ''
    const host = await startStubHost({ answers: { listTasks: (request) => ((query = String(request.query)), { items: [], nextCursor: null }) } })
    expect((await programs.run('hakuriver.task', ['list', '--state', 'running', '--node', 'n1', '--environment', 'e1', '--limit', '5'], { env: host.env })).code).toBe(0)
    expect(query).toBe('limit=5&state=running&node=n1&environment=e1')
    expect((await programs.run('hakuriver.task', ['list', '--state', 'asleep'], { env: host.env })).code).toBe(2)
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

describe('task submit', () => {
  const stream = (text: string) => ({ response }: { response: ServerResponse }) => void response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(text)

  it('sends exactly what it was told', async () => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [task] }) } })
    const argv = ['submit', '--target', 'node1', '--target', 'node2:0::1,2', '--container', 'my-env', '--cores', '2', '--memory', '24G', '--env', 'A=', '--mount', '/a:/b', '--', 'sh', '-c', 'echo "$A"; ls | wc', '', '--wait', '--', 'ü\n']
    expect(await programs.run('hakuriver.task', argv, { env: host.env })).toEqual({ code: 0, stdout: `${task.id}\n`, stderr: '' })
    expect(host.requests).toEqual([{
      id: 'submitTask', params: {},
      body: { command: ['sh', '-c', 'echo "$A"; ls | wc', '', '--wait', '--', 'ü\n'], environment: 'my-env', targets: ['node1', 'node2:0::1,2'], cores: 2, memoryBytes: 24e9, env: { A: '' }, mounts: ['/a:/b'] },
    }])
  })

  it('prints one object for one task and an array for several', async () => {
    const second = { ...task, id: '01bbbbbbbbbbbbbbbbbbbbbbbb' }
    let tasks = [task]
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks }) } })
    const submit = async (...more: string[]) => (await programs.run('hakuriver.task', ['submit', '--container', 'my-env', ...more, '--', 'true'], { env: host.env })).stdout
    expect(JSON.parse(await submit('--json'))).toEqual(task)
    tasks = [task, second]
    expect(JSON.parse(await submit('--json'))).toEqual([task, second])
    expect(await submit()).toBe(`${task.id}\n${second.id}\n`)
  })

  it.each([
    [['--memory', '3X'], '"3X" is not a size'],
    [['--cores', 'many'], '--cores "many" is not a whole number'],
    [['--env', 'A'], '--env "A" is not NAME=VALUE'],
    [['--env', '=1'], '--env "=1" is not NAME=VALUE'],
    [['--mount', 'data:/data'], '"data:/data" is not a mount'],
    [['--target', 'a b'], '"a b" is not a target'],
    [['--targt', 'a'], 'did you mean --target?'],
  ])('%j is refused before the Host is asked', async (options, message) => {
    const host = await startStubHost()
    const { code, stdout, stderr } = await programs.run('hakuriver.task', ['submit', '--container', 'my-env', ...options, '--', 'true'], { env: host.env })
    expect({ code, stdout, requests: host.requests }).toEqual({ code: 2, stdout: '', requests: [] })
    expect(stderr).toContain(message)
  })

  it('does not take --container NULL for an environment', async () => {
    const { code, stderr } = await programs.run('hakuriver.task', ['submit', '--container', 'NULL', '--', 'true'])
    expect(code).toBe(2)
    expect(stderr).toContain('not supported yet')
  })

  it.each([
    [endedTask(0), 0, ''],
    [endedTask(7), 7, ''],
    [endedTask(null, { state: 'lost', reason: 'node_unreachable', message: 'node1 was not heard of.' }), 1, `Task ${task.id} is lost: node1 was not heard of.\n`],
    [endedTask(137, { state: 'out_of_memory', reason: 'memory_limit', message: null }), 137, `Task ${task.id} ran out of memory.\n`],
  ])('--wait shows the output and ends as the task does (%#)', async (ended, code, more) => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [task] }), getTask: () => ended, getTaskStdout: stream('out\u00E9\n'), getTaskStderr: stream('err\n') } })
    expect(await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--wait', '--', 'true'], { env: host.env })).toEqual({ code, stdout: 'out\u00E9\n', stderr: `${task.id}\nerr\n${more}` })
  })

  it('--wait --json prints the ended task and no output', async () => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [task] }), getTask: () => endedTask(4) } })
    const { code, stdout, stderr } = await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--wait', '--json', '--', 'true'], { env: host.env })
    expect({ code, stderr }).toEqual({ code: 4, stderr: '' })
    expect(JSON.parse(stdout)).toEqual(endedTask(4))
  })

  it('--wait of several tasks ends with the highest code', async () => {
    const tasks = ['a', 'b', 'c'].map((letter, index) => endedTask(index * 2, { id: `01${letter.repeat(24)}` }))
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks }), getTask: ({ params }) => tasks.find(({ id }) => id === params['id']), getTaskStdout: stream(''), getTaskStderr: stream('') } })
    expect((await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--wait', '--', 'true'], { env: host.env })).code).toBe(4)
  })

  it.each(['destroy', 'end'] as const)('goes on where it was after a lost link (%s): no byte is lost or doubled', async (way) => {
    const whole = 'a line of output\n'.repeat(100)
    const offsets: number[] = []
    const host = await startStubHost({
      answers: {
        submitTask: () => ({ tasks: [task] }), getTaskStderr: stream(''),
        getTask: () => (offsets.length < 3 ? task : endedTask(0)),
        getTaskStdout({ query, response }) {
          const offset = Number(query.get('offset'))
          offsets.push(offset)
          response.writeHead(200)
          // A Host that stops ends the stream properly, a link that breaks does not.
          if (offsets.length < 3) response.write(whole.slice(offset, offset + 333), () => setImmediate(() => void response[way]()))
          else response.end(whole.slice(offset))
        },
      },
    })
    const { code, stdout } = await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--wait', '--', 'true'], { env: host.env })
    expect({ code, stdout }).toEqual({ code: 0, stdout: whole })
    expect(offsets).toEqual([0, 333, 666])
  })

  it('leaves the task running at Ctrl-C and says how to end it', async () => {
    const host = await startStubHost({ answers: { submitTask: () => ({ tasks: [task] }), getTaskStdout: ({ response }) => void response.writeHead(200).write('begun\n'), getTaskStderr: ({ response }) => void response.writeHead(200).flushHeaders() } })
    const running = programs.start('hakuriver.task', ['submit', '--container', 'my-env', '--wait', '--', 'sleep', '100'], { env: host.env })
    await running.seen('stdout', 'begun')
    running.child.kill('SIGINT')
    expect(await running.finished).toEqual({ code: 130, stdout: 'begun\n', stderr: `${task.id}\nThe task goes on. End it with: hakuriver task kill ${task.id}\n` })
    expect(host.requests.map(({ id }) => id)).not.toContain('killTask')
  })
})

describe('one task', () => {
  it('status and wait tell how far the load of its version is', async () => {
    const syncing: Task = { ...task, state: 'syncing', node: 'node1', message: 'The share hangs.', sync: { bytes: 12e6, totalBytes: 800e6, bytesPerSecond: 100e6 } }
    let asked = 0
    const host = await startStubHost({ answers: { getTask: () => (++asked < 4 ? syncing : endedTask(0)) } })
    const status = await programs.run('hakuriver.task', ['status', task.id], { env: host.env })
    expect(status.stdout).toContain('State:       syncing 12.0 MB of 800 MB, 100 MB/s\n')
    expect(status.stdout).toContain('Message:     The share hangs.\n')
    expect(await programs.run('hakuriver.task', ['wait', task.id], { env: host.env })).toEqual({ code: 0, stdout: `${task.id} succeeded\n`, stderr: 'syncing  800 MB\n' })
  })

  it('submit --dry-run tells what would come of it, and submits nothing', async () => {
    const preview: SubmitPreview = {
      environment: 'my-env', version: 1_700_000_000, fileName: 'my-env-1700000000.tar',
      tasks: [{ target: null, node: 'node1', place: 0, message: null, syncBytes: 5e6 }, { target: 'node2', node: 'node2', place: 3, message: 'Waits for 1 free core.', syncBytes: 0 }],
    }
    const host = await startStubHost({ answers: { previewTask: () => preview } })
    const { stdout } = await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--dry-run', '--', 'true'], { env: host.env })
    expect(stdout.split('\n')).toEqual([
      'NODE    VERSION                 TO LOAD   QUEUE            WAITS FOR',
      'node1   my-env-1700000000.tar   5.00 MB   starts at once   -',
      'node2   my-env-1700000000.tar   nothing   place 3          Waits for 1 free core.',
      '',
    ])
    expect(JSON.parse((await programs.run('hakuriver.task', ['submit', '--container', 'my-env', '--dry-run', '--json', '--', 'true'], { env: host.env })).stdout)).toEqual(preview)
    expect(host.requests.map(({ id }) => id)).toEqual(['previewTask', 'previewTask'])
  })

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

  it('status names the facts', async () => {
    const host = await startStubHost({ answers: { getTask: () => endedTask(3) } })
    for (const [program, ...argv] of [['hakuriver.task', 'status'], ['hakuriver.client', 'status']]) {
      const { code, stdout } = await programs.run(program ?? '', [...argv, task.id], { env: host.env })
      expect(code).toBe(0)
      expect(stdout).toContain('State:       failed\n')
      expect(stdout).toContain('Exit code:   3\n')
      expect(stdout).toContain('Command:     ["echo","hello"]\n')
    }
    expect(JSON.parse((await programs.run('hakuriver.task', ['status', task.id, '--json'], { env: host.env })).stdout)).toEqual(endedTask(3))
  })

  it.each([
    ['hakuriver.task', ['kill', task.id], 'killTask'],
    ['hakuriver.client', ['kill', task.id], 'killTask'],
    ['hakuriver.task', ['pause', task.id], 'pauseTask'],
    ['hakuriver.task', ['resume', task.id], 'resumeTask'],
    ['hakuriver.task', ['command', task.id, 'pause'], 'pauseTask'],
    ['hakuriver.task', ['command', task.id, 'resume'], 'resumeTask'],
  ] as const)('%s %j', async (program, argv, id) => {
    const host = await startStubHost({ answers: { [id]: () => ({ ...task, state: 'running' }) } })
    expect(await programs.run(program, [...argv], { env: host.env })).toEqual({ code: 0, stdout: `${task.id} running\n`, stderr: '' })
    expect(host.requests).toMatchObject([{ id, params: { id: task.id } }])
  })

  it('stdout and stderr are bytes, untouched', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    const host = await startStubHost({ answers: { getTaskStdout: ({ response }) => void response.writeHead(200).end(bytes), getTaskStderr: ({ query, response }) => void response.writeHead(200).end(`follow ${query.get('follow')}`), getTask: () => endedTask(0) } })
    const running = programs.start('hakuriver.task', ['stdout', task.id], { env: host.env })
    running.child.stdout.removeAllListeners('data').setEncoding('latin1')
    let text = ''
    running.child.stdout.on('data', (chunk: string) => (text += chunk))
    expect((await running.finished).code).toBe(0)
    expect(text).toBe(bytes.toString('latin1'))
    expect((await programs.run('hakuriver.task', ['stderr', task.id, '-f'], { env: host.env })).stdout).toBe('follow true')
  })

  it('wait ends as the task does', async () => {
    let asked = 0
    const host = await startStubHost({ answers: { getTask: () => (asked++ < 2 ? task : endedTask(9)) } })
    expect(await programs.run('hakuriver.task', ['wait', task.id], { env: host.env })).toEqual({ code: 9, stdout: `${task.id} failed\n`, stderr: '' })
  })

  it.each(['status', 'kill', 'stdout', 'wait'])('%s of a task that nobody knows ends with 3', async (command) => {
    const unknown = () => {
      throw new HakuError('task.not_found', 'There is no task x.')
    }
    const host = await startStubHost({ answers: { getTask: unknown, killTask: unknown, getTaskStdout: unknown } })
    expect(await programs.run('hakuriver.task', [command, 'x'], { env: host.env })).toEqual({ code: 3, stdout: '', stderr: 'hakuriver task: There is no task x.\n' })
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
