import { describe, expect, it } from 'vitest'
import type { HostApi } from '#core/api/host.ts'
import type { Explanation, TaskDetails } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { batch, endedTask, itemOf, task } from './support/samples.ts'
import { startStubHost, type StubAnswer } from './support/stub-host.ts'

const programs = usePrograms()
const running = { ...task, state: 'running' as const, instance: 1 }
const other = '01cccccccccccccccccccccccc'

async function run(answers: Partial<Record<keyof HostApi, StubAnswer>>, ...argv: string[]) {
  const host = await startStubHost({ answers })
  return { host, ...(await programs.run('hakuriver.task', argv, { env: { ...host.env, TZ: 'UTC' } })) }
}

describe('asking for a change', () => {
  it.each([
    [['kill'], 'killTask', `${task.id} running\n`],
    [['pause'], 'pauseTask', `${task.id} running\n`],
    [['resume'], 'resumeTask', `${task.id} running\n`],
    [['hold'], 'holdTask', `${task.id} running\n`],
    [['release'], 'releaseTask', `${task.id} running\n`],
    [['retry'], 'retryTask', `${task.id} running\n`],
    [['retry', '--failed'], 'retryTask', `${task.id} running\n`],
  ] as const)('%j', async (argv, id, text) => {
    const { host, code, stdout, stderr } = await run({ [id]: () => running }, ...argv, task.id)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: text, stderr: '' })
    expect(host.requests).toMatchObject([{ id, params: { id: task.id } }])
  })

  it.each([
    [{ ...running, wish: 'kill' as const }, 'running, kill asked for'],
    [{ ...running, state: 'paused' as const, wish: 'pause' as const }, 'paused'],
    [{ ...task, wish: 'hold' as const }, 'queued, held'],
    [{ ...batch, items: { ...batch.items, kind: 'array' as const, size: 9, parallel: null, pack: false, pending: '8-9', counts: { queued: 2, running: 1, succeeded: 4, failed: 1, killed: 1 } } }, 'queued: 6 of 9 ended (1 failed, 1 killed), 2 queued, 1 running'],
  ])('says where it stands (%#)', async (answer, text) => {
    expect(await run({ killTask: () => answer }, 'kill', answer.id)).toMatchObject({ code: 0, stdout: `${answer.id} ${text}\n` })
  })

  it.each(['pause', 'resume'])('command ID %s, as in 0.3', async (action) => {
    expect(await run({ [`${action}Task`]: () => running }, 'command', task.id, action)).toMatchObject({ code: 0, stdout: `${task.id} running\n` })
  })

  it('tries all, tells each that fails, and ends as the worst', async () => {
    const answers: Partial<Record<keyof HostApi, StubAnswer>> = {
      killTask({ params }) {
        if (params['id'] === 'gone') throw new HakuError('task.not_found', 'There is no task gone.')
        if (params['id'] === 'over') throw new HakuError('task.finished', 'The task over has ended.')
        return { ...running, id: params['id'] }
      },
    }
    const { code, stdout, stderr } = await run(answers, 'kill', 'one', 'gone', 'over', 'two')
    expect({ code, stdout, stderr }).toEqual({ code: 3, stdout: 'one running\ntwo running\n', stderr: 'hakuriver task: There is no task gone.\nhakuriver task: The task over has ended.\n' })
    const json = await run(answers, 'kill', 'one', 'gone', '--json')
    expect(JSON.parse(json.stdout)).toMatchObject([{ id: 'one' }])
    expect(JSON.parse(json.stderr)).toMatchObject({ code: 'task.not_found' })
    expect(JSON.parse((await run(answers, 'kill', 'one', '--json')).stdout)).toMatchObject({ id: 'one' })
  })

  it('tells only once that the Host is away', async () => {
    const { code, stderr } = await programs.run('hakuriver.task', ['kill', 'a', 'b', 'c', '--host', '127.0.0.1:1'])
    expect(code).toBe(5)
    expect(stderr.split('\n')).toHaveLength(2)
  })

  it('kill --wait says how it really ended', async () => {
    const killed = { ...endedTask(137, { state: 'killed', reason: 'user', wish: 'kill' }), events: [] }
    let asked = 0
    expect(await run({ killTask: () => running, getTask: () => (asked++ < 2 ? running : killed) }, 'kill', '--wait', task.id)).toMatchObject({ code: 0, stdout: `${task.id} killed\n` })
  })

  it('retry needs something to retry', async () => {
    expect(await run({}, 'retry')).toMatchObject({ code: 2, stderr: expect.stringContaining('Name tasks, or a batch with --failed.') as string })
  })
})

describe('task move', () => {
  it.each([
    [['--first'], { to: 'first' }],
    [['--last', '--priority=-3'], { to: 'last', priority: -3 }],
    [['--before', other], { to: { before: other } }],
    [['--target', 'node2:1::0'], { target: 'node2:1::0' }],
    [['--anywhere'], { target: null }],
  ])('%j', async (options, body) => {
    const { host, code } = await run({ moveTask: () => task }, 'move', task.id, ...options)
    expect(code).toBe(0)
    expect(host.requests).toEqual([{ id: 'moveTask', params: { id: task.id }, body }])
  })

  it('keeps the order of several', async () => {
    const order = async (option: string) => (await run({ moveTask: () => task }, 'move', 'a', 'b', 'c', option)).host.requests.map(({ params }) => params['id'])
    expect(await order('--first')).toEqual(['c', 'b', 'a'])
    expect(await order('--last')).toEqual(['a', 'b', 'c'])
    const { stdout } = await run({ moveTask: ({ params }) => ({ ...task, id: params['id'] }) }, 'move', 'a', 'b', 'c', '--first', '--json')
    expect((JSON.parse(stdout) as { id: string }[]).map(({ id }) => id)).toEqual(['a', 'b', 'c'])
  })

  it.each([
    [[], 'Say where to'],
    [['--first', '--last'], '--first and --last can not be given together'],
    [['--before', other, '--priority', '1'], '--before takes the priority of the other one'],
    [['--target', 'a', '--anywhere'], '--target and --anywhere can not be given together'],
    [['--target', 'a b'], '--target "a b" is not a target'],
    [['--priority', 'high'], '--priority "high" is not a whole number'],
  ])('%j is a mistake of usage', async (options, message) => {
    const { host, code, stderr } = await run({}, 'move', task.id, ...options)
    expect({ code, requests: host.requests }).toEqual({ code: 2, requests: [] })
    expect(stderr).toContain(message)
  })
})

describe('task rerun', () => {
  it('prints the ids of the new tasks', async () => {
    const { host, code, stdout } = await run({ rerunTask: () => ({ tasks: [{ ...task, id: other }] }) }, 'rerun', task.id, '--latest')
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${other}\n` })
    expect(host.requests).toMatchObject([{ id: 'rerunTask', params: { id: task.id }, body: { latest: true } }])
  })

  it('is submitted again with the same key when the link is lost', async () => {
    const keys: unknown[] = []
    const { code, stdout } = await run({ rerunTask: ({ body, response }) => (keys.push((body as { key: string }).key) < 2 ? void response.destroy() : { tasks: [{ ...task, id: other }] }) }, 'rerun', task.id)
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${other}\n` })
    expect(keys).toEqual([expect.any(String), keys[0]])
    expect(await run({}, 'rerun', 'a', 'b', '--key', 'my-own-key')).toMatchObject({ code: 2, stderr: expect.stringContaining('--key is for a single task') as string })
  })

  it('--wait ends as the new one does', async () => {
    const ended = { ...endedTask(6), id: other, instance: 0, events: [] }
    expect(await run({ rerunTask: () => ({ tasks: [ended] }), getTask: () => ended }, 'rerun', task.id, '--wait')).toMatchObject({ code: 6, stdout: '', stderr: `${other}\n` })
  })
})

describe('task show', () => {
  const details: TaskDetails = {
    ...endedTask(3), name: 'evil\u001B]0;name\u0007', priority: 5, retries: 2, timeLimitSeconds: 5400, gpus: 2, gpuIds: [0, 3], env: { TOKEN: 'secret' }, after: [{ on: 'any', task: other }],
    events: [
      { time: task.submitted, event: 'submitted', by: 'user ada', instance: 0, node: null, message: null },
      { time: task.submitted, event: 'running', by: 'node node1', instance: 1, node: 'node1', message: 'evil\u001B[2J' },
    ],
  }
  const explanation: Explanation = {
    id: task.id, state: 'queued', summary: 'It waits for a free GPU.', place: 3, waiting: 12, reasons: [{ code: 'limit', message: 'Only 2 at a time.' }],
    nodes: [{ hostname: 'node1', reason: { code: 'no_room', message: '1 of 2 GPUs is free.' } }, { hostname: 'node2', reason: null }],
  }

  it.each([['hakuriver.task', 'show'], ['hakuriver.task', 'status'], ['hakuriver.client', 'status']])('%s %s names the facts and the events', async (program, command) => {
    const host = await startStubHost({ answers: { getTask: () => details } })
    const { code, stdout } = await programs.run(program, [command, task.id], { env: { ...host.env, TZ: 'UTC' } })
    expect(code).toBe(0)
    for (const line of ['State:       failed', 'Exit code:   3', String.raw`Name:        evil\u001b]0;name\u0007`, 'Command:     ["echo","hello"]', 'Priority:    5', 'Time limit:  1h30m', 'GPUs:        numbers 0, 3', 'Variables:   TOKEN', `After:       any:${other}`]) expect(stdout).toContain(`${line}\n`)
    expect(stdout).toContain('2026-02-03 04:05:06   submitted   user ada     -           -       -\n')
    expect(stdout).toContain(String.raw`2026-02-03 04:05:06   running     node node1   1           node1   evil\u001b[2J`)
    expect(stdout).not.toContain('secret')
  })

  it('of one that waits tells why', async () => {
    const { stdout } = await run({ getTask: () => ({ ...task, events: [] }), explainTask: () => explanation }, 'show', task.id)
    expect(stdout).toContain('State:       queued\n')
    expect(stdout).toContain('In short:    It waits for a free GPU.\nPlace:       3 of 12 that wait\nBecause:     limit: Only 2 at a time.\n')
    expect(stdout).toContain('node1   no_room   1 of 2 GPUs is free.\nnode2   -         It could start there.\n')
  })

  it('--json is what the API has, with the explanation of one that waits', async () => {
    expect(JSON.parse((await run({ getTask: () => details }, 'show', task.id, '--json')).stdout)).toEqual(details)
    const waiting = { ...itemOf(7), events: [] }
    expect(JSON.parse((await run({ getTask: () => waiting, explainTask: () => explanation }, 'show', waiting.id, '--json')).stdout)).toEqual({ ...waiting, explanation })
  })

  it('task explain tells it alone', async () => {
    const { code, stdout } = await run({ explainTask: () => explanation }, 'explain', task.id)
    expect(code).toBe(0)
    expect(stdout).toContain('In short:    It waits for a free GPU.\n')
    expect(JSON.parse((await run({ explainTask: () => explanation }, 'explain', task.id, '--json')).stdout)).toEqual(explanation)
  })
})
