import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { TaskDetails } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import type { TaskState } from '#core/tasks/states.ts'
import { createExplanations, type Explanations } from '#server/explain/explain.ts'
import { describeStanding } from '#server/explain/standing.ts'
import { planPlacements } from '#server/scheduler/plan.ts'
import type { PlanInput } from '#server/scheduler/types.ts'
import { gpus, input, node, placed, waiting } from './support/scheduling.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

describe('in a queue', () => {
  let host: QueueHost
  let explanations: Explanations

  beforeEach(async () => {
    host = await createQueueHost()
    explanations = createExplanations(host)
  })
  afterEach(async () => {
    vi.useRealTimers()
    await host.dispose()
  })

  /** Codes of what holds it anywhere, then of each node. */
  async function codes(id: string): Promise<string[]> {
    const { reasons, nodes } = await explanations.explain(id)
    return [...reasons.map(({ code }) => code), ...nodes.map(({ hostname, reason }) => `${hostname} ${reason?.code ?? 'free'}`)]
  }

  it('no node', async () => {
    const id = await host.submitOne()
    expect(await explanations.explain(id)).toEqual({ id, state: 'queued', summary: 'No node has registered yet.', place: 1, waiting: 1, reasons: [], nodes: [] })
  })

  it('no room, and who has it', async () => {
    await host.register('a')
    const first = await host.submitOne({ cores: 3 })
    await host.node.ordered(first)
    const second = await host.submitOne({ cores: 2 })
    await host.submitOne({ cores: 4, priority: 1 })
    await host.planned()
    expect(await explanations.explain(second)).toMatchObject({ place: 2, waiting: 2, summary: 'Waits for 2 cores.', reasons: [], nodes: [{ hostname: 'a', reason: { code: 'no_room', message: `a has 1 of 2 cores free. Its room is taken by ${first}.` } }] })
  })

  it('a node that is kept for another, and until when', async () => {
    await host.register('a')
    const first = await host.submitOne({ cores: 2, timeLimitSeconds: 60 })
    await host.node.ordered(first)
    const large = await host.submitOne({ cores: 4 })
    const small = await host.submitOne({ cores: 1 })
    await host.planned()
    expect(await explanations.explain(small)).toMatchObject({ place: 2, summary: expect.stringContaining(`a is kept for the task ${large}`), nodes: [{ reason: { code: 'kept_for_other' } }] })
    expect((await explanations.explain(large)).summary).toMatch(/^Waits for 4 cores\. a is kept for it, and has room at \d{4}-.*Z or earlier\.$/)
  })

  it('no such GPU on any node that is left', async () => {
    await host.register('a', { gpus: gpus(24) })
    await host.register('b')
    await host.node.ordered(await host.submitOne({ gpus: 1 }))
    const id = await host.submitOne({ gpus: 1 })
    await host.planned()
    expect(await codes(id)).toEqual(['a no_room', 'b no_such_gpu'])
    await host.register('a', { gpus: [] })
    await host.planned()
    expect(await codes(id)).toEqual(['a no_such_gpu', 'b no_such_gpu'])
    expect((await explanations.explain(id)).summary).toBe('No node could run it. a has 0 of the 1 GPU.')
  })

  it('a drained node, and a lone target', async () => {
    await host.register('a')
    await host.register('b')
    await host.nodes.drain('a', 'repairs')
    const id = await host.submitOne({ targets: ['a'] })
    await host.planned()
    expect(await codes(id)).toEqual(['a drained', 'b other_target'])
    expect((await explanations.explain(id)).summary).toBe('a is drained (repairs): it gets no more tasks.')
  })

  it('its version is gone', async () => {
    const id = await host.submitOne()
    await host.tarballs.remove('my-env', 7)
    expect((await explanations.explain(id)).reasons).toEqual([{ code: 'environment_missing', message: expect.stringContaining('my-env') }])
  })

  it('its version is suspected, and the Host has not read it yet', async () => {
    const id = await host.submitOne()
    await host.marks.set('my-env', 7, { damage: 'A layer is damaged.', suspectedBy: 'b' })
    await host.register('a')
    await host.planned()
    expect(await codes(id)).toEqual(['environment_suspected', 'a free'])
    expect((await explanations.explain(id)).summary).toBe('Waits for the Host to read its version: the node b says that it is damaged.')
  })

  it('a pause before it is tried again', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    await host.register('a')
    const id = await host.submitOne({ retries: 1 })
    await host.finish(id, 'failed')
    await host.reached(id, 'queued')
    await host.planned()
    expect(await codes(id)).toEqual(['retry_backoff', 'a free'])
    expect((await explanations.explain(id)).summary).toBe(`Its last execution did not succeed. It is tried again at ${new Date(Date.now() + 1000).toISOString()}.`)
  })

  it('a dependency, with its state', async () => {
    await host.register('a', { cores: 1 })
    const first = await host.submitOne()
    await host.node.ordered(first)
    const id = await host.submitOne({ after: [{ on: 'ok', task: first }], cores: 0 })
    await host.planned()
    expect(await codes(id)).toEqual(['dependency', 'a free'])
    expect((await explanations.explain(id)).summary).toBe(`Waits for the task ${first} to succeed; it is assigned.`)
  })

  it('a hold, and a time to come: both are told', async () => {
    await host.register('a')
    const at = new Date(Date.now() + 3_600_000).toISOString()
    const id = await host.submitOne({ hold: true, at })
    expect(await codes(id)).toEqual(['hold', 'not_before', 'a free'])
    expect((await explanations.explain(id)).summary).toMatch(/^It is held\. .* That is not all that it waits for\.$/)
    await host.tasks.release(id)
    expect((await explanations.explain(id)).summary).toBe(`It starts at ${at}, or later.`)
  })

  it('the limit of a batch, for the batch and for an item that waits', async () => {
    await host.register('a')
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-3' }, parallel: 1 })
    await host.node.ordered(`${batch}.1`)
    await host.planned()
    expect(await codes(batch)).toEqual(['limit', 'a free'])
    expect(await explanations.explain(`${batch}.3`)).toMatchObject({ id: `${batch}.3`, state: 'queued', place: 1, reasons: [{ code: 'limit' }] })
    expect(await explanations.explain(`${batch}.1`)).toMatchObject({ state: 'assigned', place: null, reasons: [], nodes: [], summary: 'It was given to a, which has not answered yet.' })
  })

  it('items of several targets, each for itself', async () => {
    await host.register('a')
    await host.register('b')
    const item = await host.submitOne({ targets: ['a', 'b'], cores: 4, hold: true })
    const batch = item.slice(0, 26)
    expect(await explanations.explain(batch)).toMatchObject({ place: null, summary: `Its 2 items: 2 queued. Each waits for itself: see "hakuriver task explain ${batch}.1" and so on.` })
    expect(await codes(`${batch}.2`)).toEqual(['hold', 'a other_target', 'b free'])
  })

  it('refuses what it does not know', async () => {
    await expect(explanations.explain('0'.repeat(26))).rejects.toThrow(expect.objectContaining({ code: 'task.not_found' }))
  })
})

describe('with small models', () => {
  const details = (overrides: Partial<TaskDetails> = {}): TaskDetails => ({ id: 'a', state: 'queued', wish: 'run', message: null, node: null, items: null, batch: null, environment: null, version: null, started: null, finished: null, exitCode: null, ...overrides }) as TaskDetails
  const explain = (task: TaskDetails, given: PlanInput, resolve = () => Promise.reject(new Error('nobody asks'))) =>
    createExplanations({ tasks: { get: () => Promise.resolve(task), planInput: () => given, plan: () => planPlacements(given) }, versions: { resolve } }).explain(task.id)

  it('an offline node', async () => {
    expect(await explain(details(), input([waiting('a')], [node('n1', { online: false })]))).toMatchObject({ summary: 'Of the nodes that could run it, 1 is offline.', nodes: [{ hostname: 'n1', reason: { code: 'offline' } }] })
  })

  it('a task that came after the last plan is explained by the next one', async () => {
    const given = input([waiting('a', { cores: 8 })], [node('n1', { placed: [placed('x')] })])
    const explanations = createExplanations({ tasks: { get: () => Promise.resolve(details()), planInput: () => given, plan: () => planPlacements(input([], [])) }, versions: { resolve: () => Promise.reject(new Error('nobody asks')) } })
    expect(await explanations.explain('a')).toMatchObject({ place: 1, nodes: [{ hostname: 'n1', reason: { code: 'no_room' } }] })
  })

  it('a storage that can not be read', async () => {
    const away = () => Promise.reject(new HakuError('storage.unavailable', 'The storage is away.'))
    expect((await explain(details({ environment: 'my-env', version: 7 }), input([waiting('a')], [node('n1')]), away)).reasons).toEqual([{ code: 'environment_missing', message: 'Whether its version is in the storage can not be seen now: The storage is away.' }])
  })

  it('a batch that waits in part', async () => {
    const task = details({ state: 'running', items: { kind: 'array', size: 3, parallel: null, pack: false, pending: '3', counts: { queued: 1, running: 2 } } })
    expect(await explain(task, input([waiting('a', { cores: 8 })], [node('n1', { placed: [placed('a.1')] })]))).toMatchObject({ state: 'running', place: 1, summary: 'Waits for 8 cores. n1 is kept for it.' })
  })
})

describe('a task that does not wait', () => {
  const standing = (state: TaskState, overrides: Partial<TaskDetails> = {}) => describeStanding({ state, wish: 'run', message: null, node: 'n1', items: null, environment: 'my-env', version: 7, started: null, finished: null, exitCode: null, ...overrides } as TaskDetails)
  const finished = '2026-01-01T00:00:00.000Z'

  it.each<[TaskState, Partial<TaskDetails>, string]>([
    ['assigned', {}, 'It was given to n1, which has not answered yet.'],
    ['syncing', { message: 'The storage is slow.' }, 'n1 loads what it lacks of my-env, version 7. The storage is slow.'],
    ['running', { started: finished, wish: 'kill' }, `It runs on n1 since ${finished}. It was asked to end, and its node has not confirmed that yet.`],
    ['paused', {}, 'It is paused on n1, and keeps what it was given.'],
    ['succeeded', { finished }, `It succeeded at ${finished}.`],
    ['failed', { finished, exitCode: 3 }, `It failed at ${finished}, with exit code 3.`],
    ['out_of_memory', { finished }, `It was ended at ${finished}: it needed more memory than its limit.`],
    ['lost', { finished, message: 'The node n1 does not answer.' }, `It was lost at ${finished}, with n1. The node n1 does not answer.`],
    ['running', { items: { kind: 'array', size: 4, parallel: null, pack: false, pending: '', counts: { running: 3, out_of_memory: 1 } } }, 'Its 4 items: 3 running, 1 out of memory.'],
  ])('%s', (state, overrides, sentence) => {
    expect(standing(state, overrides)).toBe(sentence)
  })
})
