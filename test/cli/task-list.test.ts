import { describe, expect, it } from 'vitest'
import type { Task } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { batch, endedBatch, endedTask, environment, itemOf, node, task } from './support/samples.ts'
import { startStubHost, type StubAnswer } from './support/stub-host.ts'
import { startTerminal } from './support/terminal.ts'

const programs = usePrograms()
const lines = (text: string) => text.trimEnd().split('\n').map((line) => line.split(/ {2,}/))

const others = {
  getTask: () => ({ ...batch, events: [] }),
  listNodes: () => ({ items: [node] }),
  listEnvironments: () => ({ items: [environment] }),
}

async function run(listTasks: StubAnswer, ...options: string[]) {
  const host = await startStubHost({ answers: { ...others, listTasks } })
  return programs.run('hakuriver.task', ['list', ...options], { env: { ...host.env, TZ: 'UTC' } })
}

describe('task list', () => {
  it('is a table for people, in which nothing moves the cursor', async () => {
    const items = [endedTask(3), { ...endedBatch, submitter: 'eve\u001B[2J', name: 'sweep' }, { ...task, wish: 'hold', environment: null, submitter: '' }]
    const { code, stdout, stderr } = await run(() => ({ items, nextCursor: null }))
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines(stdout)).toEqual([
      ['ID', 'STATE', 'EXIT', 'NODE', 'ENVIRONMENT', 'USER', 'SUBMITTED', 'COMMAND'],
      [task.id, 'failed', '3', 'node1', 'my-env', 'ada', '2026-02-03 04:05:06+00:00', 'echo hello'],
      [batch.id, 'failed (3/3)', '2', '-', 'my-env', String.raw`eve\u001b[2J`, '2026-02-03 04:05:06+00:00', 'sweep: echo hello'],
      [task.id, 'queued (held)', '-', '-', '-', '-', '2026-02-03 04:05:06+00:00', 'echo hello'],
    ])
  })

  it('--json is as the API has them', async () => {
    const items = [endedTask(3), itemOf(7)]
    const { stdout } = await run(() => ({ items, nextCursor: null }), '--json')
    expect(JSON.parse(stdout)).toEqual(items)
  })

  it.each([
    [[], 'level=top&limit=100'],
    [['--state', 'running', '--node', 'n1', '--environment', 'e1', '--user', 'ada', '--limit', '5'], 'state=running&node=n1&environment=e1&submitter=ada&level=top&limit=5'],
    [['--items', '--since', '2026-02-03T04:05Z'], 'since=2026-02-03T04%3A05%3A00.000Z&level=all&limit=100'],
    [['--batch', batch.id], `batch=${batch.id}&level=all&limit=100`],
    [['--environment', 'NULL'], 'environment=NULL&level=top&limit=100'],
  ])('%j is handed on', async (options, query) => {
    let asked = ''
    expect((await run((request) => ((asked = String(request.query)), { items: [], nextCursor: null }), ...options)).code).toBe(0)
    expect(asked).toBe(query)
  })

  it.each([
    [['--state', 'asleep'], '--state "asleep" is none of queued'],
    [['--since', 'soon'], '--since "soon" is not a time'],
    [['--environment', 'my-env@1700000000'], '--environment "my-env@1700000000" names a version; tasks are listed by the environment alone. Write --environment my-env.'],
    [['--environment', 'My_Env'], '--environment "My_Env" is not a valid environment name'],
    [['--limit', '0'], '--limit "0" is not a whole number from 1'],
    [['--all', '--limit', '5'], '--all and --limit can not be given together'],
    [['--all', '--watch'], '--all and --watch can not be given together'],
  ])('%j is a mistake of usage', async (options, message) => {
    const { code, stderr } = await programs.run('hakuriver.task', ['list', ...options])
    expect(code).toBe(2)
    expect(stderr).toContain(message)
  })

  it.each([
    [['--node', 'node2'], 'There is no node "node2" now, and no task of one; did you mean "node1"?\n'],
    [['--environment', 'zzz'], 'There is no environment "zzz" now, and no task of one.\n'],
    [['--node', 'node1', '--environment', 'my-env'], ''],
    [['--environment', 'NULL'], ''],
  ])('%j, of which there is none, says whether it can be found at all', async (options, told) => {
    expect(await run(() => ({ items: [], nextCursor: null }), ...options)).toMatchObject({ code: 0, stderr: told })
    expect(await run(() => ({ items: [], nextCursor: null }), ...options, '--all', '--json')).toEqual({ code: 0, stdout: '[]\n', stderr: told })
    expect(await run(() => ({ items: [task], nextCursor: null }), ...options)).toMatchObject({ code: 0, stderr: '' })
  })

  it.each([
    ['that there is not', () => { throw new HakuError('task.not_found', 'There is no task x.') }, 'hakuriver task: There is no task x.\n'],
    ['that is none', () => ({ ...task, events: [] }), `hakuriver task: The task x is no batch, so it has no items. "hakuriver task show x" shows it.\n`],
  ])('of a batch %s ends with 3', async (_what, getTask, stderr) => {
    const host = await startStubHost({ answers: { getTask } })
    for (const more of [[], ['--watch']]) expect(await programs.run('hakuriver.task', ['list', '--batch', 'x', ...more], { env: host.env })).toEqual({ code: 3, stdout: '', stderr })
  })

  describe('of many', () => {
    const all: Task[] = Array.from({ length: 2500 }, (_, index) => ({ ...task, id: `01${String(9999 - index).padStart(24, '0')}`, environment: index === 2400 ? 'a-longer-name' : 'my-env' }))
    const pages: StubAnswer = ({ query }) => {
      const start = query.has('cursor') ? all.findIndex(({ id }) => id === query.get('cursor')) + 1 : 0
      const items = all.slice(start, start + Number(query.get('limit')))
      return { items, nextCursor: start + items.length < all.length ? (items.at(-1)?.id ?? null) : null }
    }

    it('says that there are more', async () => {
      const { stdout, stderr } = await run(pages)
      expect(lines(stdout)).toHaveLength(101)
      expect(stderr).toBe('There are more: --limit N or --all shows them.\n')
    })

    it.each([[['--all'], 2500], [['--limit', '1500'], 1500]])('%j shows each once', async (options, count) => {
      const { stdout } = await run(pages, ...options)
      expect(lines(stdout).slice(1).map(([id]) => id)).toEqual(all.slice(0, count).map(({ id }) => id))
    })

    it('--all --json is one array', async () => {
      const { stdout } = await run(pages, '--all', '--json')
      expect(JSON.parse(stdout)).toEqual(all)
      expect(stdout).toBe(`${JSON.stringify(JSON.parse(stdout), null, 2)}\n`)
      expect((await run(() => ({ items: [], nextCursor: null }), '--all', '--json')).stdout).toBe('[]\n')
    })
  })
})

describe('task list --watch', () => {
  async function watch() {
    let items: Task[] = [task]
    let asked = () => {}
    const host = await startStubHost({ answers: { listTasks: () => (asked(), { items, nextCursor: null }) } })
    return {
      host,
      set: (...now: Task[]) => {
        items = now
      },
      /** The Host was asked again: what was there before has been shown. */
      again: () => new Promise<void>((resolve) => {
        asked = resolve
      }),
    }
  }

  it('prints a line for each change to a pipe, and ends on Ctrl-C with 0', async () => {
    const { host, set, again } = await watch()
    const running = programs.start('hakuriver.task', ['list', '--watch'], { env: { ...host.env, TZ: 'UTC' } })
    await running.seen('stdout', 'queued')
    await again()
    await again()
    set({ ...task, state: 'running', node: 'node1' }, { ...itemOf(2), id: 'new\u001B[2J' })
    await running.seen('stdout', 'running')
    running.child.kill('SIGINT')
    const { code, stdout, stderr } = await running.finished
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines(stdout).map((cells) => cells.slice(0, 4))).toEqual([
      [task.id, 'queued', '-', '-'],
      [String.raw`new\u001b[2J`, 'queued', '-', '-'],
      [task.id, 'running', '-', 'node1'],
    ])
  })

  it('--json prints objects on lines', async () => {
    const { host } = await watch()
    const running = programs.start('hakuriver.task', ['list', '--watch', '--json'], { env: host.env })
    await running.seen('stdout', '\n')
    running.child.kill('SIGINT')
    expect(JSON.parse((await running.finished).stdout)).toEqual(task)
  })

  it('waits for a Host that goes away', async () => {
    const { host, again } = await watch()
    const running = programs.start('hakuriver.task', ['list', '--watch'], { env: host.env })
    await running.seen('stdout', 'queued')
    await again()
    host.stop()
    await running.seen('stderr', 'can not be reached')
    running.child.kill('SIGINT')
    expect((await running.finished).code).toBe(0)
  })

  it('tells at once that there is no Host', async () => {
    expect(await programs.run('hakuriver.task', ['list', '--watch', '--host', '127.0.0.1:1'])).toMatchObject({ code: 5, stdout: '' })
  })

  it('takes a terminal that knows no size for one of 80 columns', async () => {
    const { host } = await watch()
    const terminal = startTerminal('sh', ['-c', 'stty cols 0 rows 0 && exec hakuriver.task list --watch'], programs.env(host.env))
    await terminal.seen(/\[JID [^\r]{76}\r\n01[^\r]{77}\r\n/)
    terminal.pty.write('\u0003')
    expect(await terminal.ended).toBe(0)
  })

  it('draws again in the same place at a terminal', async () => {
    const { host, set } = await watch()
    const terminal = startTerminal('hakuriver.task', ['list', '--watch'], programs.env(host.env))
    await terminal.seen('queued')
    set({ ...task, state: 'running' }, ...Array.from({ length: 50 }, (_, index) => ({ ...task, id: `01${String(index).padStart(24, '0')}` })))
    await terminal.seen('running')
    set({ ...task, state: 'succeeded' })
    await terminal.seen('succeeded')
    terminal.pty.write('\u0003')
    expect(await terminal.ended).toBe(0)
    const drawings = terminal.output().split('\u001B[J')
    // Up by as many lines as were drawn before, which is never more than the terminal has.
    expect(drawings.map((drawing) => drawing.split('\u001B[').at(-1))).toContain('28A\r')
    expect(drawings.at(-1)?.split('\r\n').filter((line) => line.startsWith('01'))).toHaveLength(1)
  })
})
