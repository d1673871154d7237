import { describe, expect, it } from 'vitest'
import type { HostApi } from '#core/api/host.ts'
import type { Explanation, TaskDetails } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { usePrograms } from './support/programs.ts'
import { batch, endedTask, itemOf, items, task } from './support/samples.ts'
import { startStubHost, type StubAnswer } from './support/stub-host.ts'

const programs = usePrograms()
const running = { ...task, state: 'running' as const, instance: 1 }
const outOfSight = endedTask(null, { state: 'lost', reason: 'node_unreachable' })
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
    [{ ...outOfSight, wish: 'kill' as const }, 'lost, kill asked for'],
    [{ ...outOfSight, wish: 'kill' as const, reason: 'node_removed' as const }, 'lost'],
    [{ ...endedTask(137, { state: 'killed' }), wish: 'kill' as const }, 'killed'],
    [{ ...batch, state: 'lost' as const, wish: 'kill' as const, items: { ...items, counts: { lost: 1, killed: 2 } } }, 'lost, kill asked for: 3 of 3 ended (2 killed, 1 lost)'],
    [{ ...running, state: 'paused' as const, wish: 'pause' as const }, 'paused'],
    [{ ...batch, state: 'running' as const, wish: 'kill' as const, items: { ...items, pending: '', counts: { running: 2, killed: 1 } } }, 'running, kill asked for: 1 of 3 ended (1 killed), 2 running'],
    [{ ...task, wish: 'hold' as const }, 'queued, held'],
    [{ ...batch, items: { ...items, size: 9, pending: '8-9', counts: { queued: 2, running: 1, succeeded: 4, failed: 1, killed: 1 } } }, 'queued: 6 of 9 ended (1 failed, 1 killed), 2 queued, 1 running'],
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
    expect(await run({ killTask: () => running, getTask: () => (asked++ < 2 ? { ...running, events: [] } : killed) }, 'kill', '--wait', task.id)).toMatchObject({ code: 0, stdout: `${task.id} killed\n` })
  })

  it.each([
    ['it is back', { ...endedTask(137, { state: 'killed', reason: 'user', wish: 'kill' }), events: [] }, 'killed'],
    ['it was removed', { ...outOfSight, reason: 'node_removed' as const, wish: 'kill' as const, events: [] }, 'lost'],
  ])('kill --wait waits for a silent node until %s, and says so once', async (_what, end, text) => {
    let asked = 0
    const lost = { ...outOfSight, wish: 'kill' as const, events: [] }
    const { code, stdout, stderr } = await run({ killTask: () => lost, getTask: () => (asked++ < 2 ? lost : end) }, 'kill', '--wait', task.id)
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${task.id} ${text}\n` })
    expect(stderr).toBe(`The node node1 is silent: ${task.id} is killed when it comes back. Ctrl-C only ends the waiting.\n`)
  })

  it('kill --wait of a batch waits for the silent nodes of its items', async () => {
    let asked = 0
    const lost = { ...batch, state: 'lost' as const, wish: 'kill' as const, items: { ...items, counts: { lost: 3 } }, events: [] }
    const killed = { ...lost, state: 'killed' as const, items: { ...items, counts: { killed: 3 } } }
    const lostItems = [itemOf(3, { ...outOfSight, node: 'node2' }), itemOf(2, { ...outOfSight }), itemOf(1, { ...outOfSight, node: 'node3', reason: 'node_removed' })]
    const { code, stdout, stderr } = await run({ killTask: () => lost, listTasks: () => ({ items: lostItems, nextCursor: null }), getTask: () => (asked++ < 2 ? lost : killed) }, 'kill', '--wait', batch.id)
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${batch.id} killed: 3 of 3 ended (3 killed)\n` })
    expect(stderr).toBe(`The nodes node1, node2 are silent: ${batch.id} is killed when they come back. Ctrl-C only ends the waiting.\n`)
  })

  it('kill --wait asks for all before it waits for any, and Ctrl-C leaves', async () => {
    const killed = endedTask(137, { id: other, state: 'killed', wish: 'kill' })
    const host = await startStubHost({ answers: { killTask: ({ params }) => ({ ...running, id: params['id'] }), getTask: ({ params }) => ({ ...(params['id'] === other ? killed : { ...outOfSight, wish: 'kill' }), events: [] }) } })
    const waiting = programs.start('hakuriver.task', ['kill', '--wait', task.id, other], { env: host.env })
    await waiting.seen('stdout', `${other} killed\n`)
    await waiting.seen('stderr', 'is silent')
    waiting.child.kill('SIGINT')
    expect(await waiting.finished).toMatchObject({ code: 130, stdout: `${other} killed\n` })
    expect(host.requests.slice(0, 2)).toMatchObject([{ id: 'killTask', params: { id: task.id } }, { id: 'killTask', params: { id: other } }])
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
    expect(await run({ rerunTask: () => ({ tasks: [ended] }), getTask: () => ended }, 'rerun', task.id, '--wait')).toMatchObject({ code: 6, stdout: '', stderr: `${other}\nhakuriver: task ${other} failed: The command ended with exit code 6.\n` })
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
    expect(stdout).toContain('2026-02-03 04:05:06+00:00   submitted   user ada     -           -       -\n')
    expect(stdout).toContain(String.raw`2026-02-03 04:05:06+00:00   running     node node1   1           node1   evil\u001b[2J`)
    expect(stdout).not.toContain('secret')
  })

  it('of one that waits tells why', async () => {
    const { stdout } = await run({ getTask: () => ({ ...task, events: [] }), explainTask: () => explanation }, 'show', task.id)
    expect(stdout).toContain('State:       queued\n')
    expect(stdout).toContain('In short:    It waits for a free GPU.\nPlace:       3 of 12 that wait\nBecause:     limit: Only 2 at a time.\n')
    expect(stdout).toContain('node1   no_room   1 of 2 GPUs is free.\nnode2   -         It could start there.\n')
  })

  it('has all times in local time, those of the sentences too', async () => {
    const at = '2026-11-25T04:59:00.000Z'
    const reason = { code: 'not_before' as const, message: `It starts at ${at}, or later.` }
    const host = await startStubHost({
      answers: {
        getTask: () => ({ ...task, at, command: ['at', at], message: reason.message, events: [{ time: at, event: 'note' as const, by: 'host', instance: 0, node: null, message: reason.message }] }),
        explainTask: () => ({ ...explanation, summary: reason.message, reasons: [reason], nodes: [{ hostname: 'node1', reason }] }),
      },
    })
    const { stdout } = await programs.run('hakuriver.task', ['show', task.id], { env: { ...host.env, TZ: 'America/New_York' } })
    expect(stdout).toContain(`Command:     ["at","${at}"]\n`)
    expect(stdout.match(/2026-11-2\S+(?: [\d:-]*)?/g)?.toSorted()).toEqual([...Array<string>(7).fill('2026-11-24 23:59:00-05:00'), `${at}"]`])
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
