import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Task } from '#core/api/schemas.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
})
afterEach(() => host.dispose())

async function submitBatch(...args: Parameters<QueueHost['submit']>): Promise<Task> {
  const [batch] = await host.submit(...args)
  if (!batch) throw new Error('no batch')
  return batch
}

const array = (indexes: string) => ({ items: { kind: 'array' as const, indexes } })

describe('an array', () => {
  it('is one row until its items run, and each gets its index', async () => {
    await host.register('a', { cores: 2 })
    const batch = await submitBatch({ ...array('5-7,10'), command: ['run', 'n=%{index}', '%{other}'], env: { X: '1' } })
    expect(batch).toMatchObject({ state: 'queued', batch: null, items: { kind: 'array', size: 4, counts: { queued: 4 } } })
    await host.node.ordered(`${batch.id}.6`)
    expect(host.node.orders.get(`${batch.id}.5`)).toMatchObject({ command: ['run', 'n=5', '%{other}'], env: { X: '1', index: '5' }, instance: 1 })
    expect(await host.tasks.get(batch.id)).toMatchObject({ state: 'running', items: { pending: '7,10', counts: { queued: 2, assigned: 2 } } })
    expect(await host.tasks.get(`${batch.id}.5`)).toMatchObject({ batch: batch.id, index: 5, variables: { index: '5' }, state: 'assigned', node: 'a', items: null, env: { X: '1' } })
  })

  it('shows items that wait, and none that it does not have', async () => {
    const batch = await submitBatch(array('1-3'))
    expect(await host.tasks.get(`${batch.id}.2`)).toMatchObject({ id: `${batch.id}.2`, state: 'queued', index: 2, instance: 0 })
    for (const id of [`${batch.id}.4`, `${batch.id}.02`, `${batch.id}.`]) await expect(host.tasks.get(id)).rejects.toThrow(expect.objectContaining({ code: 'task.not_found' }))
  })

  it('ends with its last item, as they did', async () => {
    await host.register('a')
    const batch = await submitBatch(array('1-3'))
    await host.finish(`${batch.id}.1`)
    await host.finish(`${batch.id}.2`)
    expect((await host.tasks.get(batch.id)).state).toBe('running')
    await host.finish(`${batch.id}.3`)
    const ended = await host.ended(batch.id)
    expect(ended).toMatchObject({ state: 'succeeded', exitCode: 0, items: { pending: '', counts: { succeeded: 3 } } })
    expect((await host.tasks.get(batch.id)).events.map(({ event }) => event)).toEqual(['submitted', 'running', 'succeeded'])
  })

  it.each([
    [['succeeded', 'failed'], 'failed', { succeeded: 1, failed: 1 }],
    [['out_of_memory', 'succeeded'], 'out_of_memory', { succeeded: 1, out_of_memory: 1 }],
    [['out_of_memory', 'failed'], 'failed', { failed: 1, out_of_memory: 1 }],
  ] as const)('whose items ended %j ends %s', async (states, state, counts) => {
    await host.register('a')
    const batch = await submitBatch(array('1-2'))
    await Promise.all(states.map((each, index) => host.finish(`${batch.id}.${index + 1}`, each, each === 'succeeded' ? 0 : 3 + index)))
    expect(await host.ended(batch.id)).toMatchObject({ state, reason: 'items', exitCode: states[1] === 'succeeded' ? 3 : 4, items: { counts } })
  })

  it('runs so many at a time', async () => {
    await host.register('a', { cores: 100 })
    const batch = await submitBatch({ ...array('1-10'), parallel: 3 })
    await host.node.ordered(`${batch.id}.3`)
    await host.planned()
    expect(await host.tasks.get(batch.id)).toMatchObject({ message: '3 of the batch run at a time, and so many do.', items: { counts: { assigned: 3, queued: 7 } } })
    await host.finish(`${batch.id}.2`)
    await host.node.ordered(`${batch.id}.4`)
    await host.planned()
    expect((await host.tasks.get(batch.id)).items?.counts).toEqual({ assigned: 3, queued: 6, succeeded: 1 })
  })

  it('runs no more than so many while some may still run on a silent node', async () => {
    for (const name of ['a', 'b']) await host.register(name, { cores: 9 })
    const { id } = await submitBatch({ ...array('1-5'), parallel: 2, targets: [] })
    for (const index of [1, 2]) {
      await host.node.ordered(`${id}.${index}`)
      await host.report(`${id}.${index}`, { state: 'running' })
    }
    const { node = '' } = await host.tasks.get(`${id}.1`)
    host.silence(node ?? '')
    for (const index of [1, 2]) await host.reached(`${id}.${index}`, 'lost')
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ message: `2 of the batch run at a time. 2 of them may still run on the node ${node}, which does not answer: "hakuriver client remove ${node}" gives them up.`, items: { counts: { lost: 2, queued: 3 } } })
    await host.nodes.remove(node ?? '')
    for (const index of [3, 4]) await host.node.ordered(`${id}.${index}`)
  })

  it('whose items are already rows is placed without those', async () => {
    const { id } = await submitBatch(array('1-5'))
    await host.tasks.hold(`${id}.3`)
    await host.database.updateTable('tasks').set({ pending: '1-5' }).where('id', '=', id).execute()
    await host.restart()
    await host.register('a', { cores: 9 })
    for (const index of [1, 2, 4, 5]) await host.node.ordered(`${id}.${index}`)
    await host.tasks.release(`${id}.3`)
    await host.node.ordered(`${id}.3`)
    expect(await host.tasks.get(id)).toMatchObject({ items: { pending: '', counts: { assigned: 5 } } })
  })

  it('of items that reserve nothing runs no more than its nodes take, however many wait', async () => {
    await host.register('a', { cores: 5 })
    const { id } = await submitBatch({ ...array('1-100000'), cores: 0 })
    await host.node.ordered(`${id}.80`)
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ message: expect.stringContaining('fewer tasks') as unknown, items: { counts: { assigned: 80, queued: 99_920 } } })
    await host.finish(`${id}.1`)
    await host.node.ordered(`${id}.81`)
  })

  it('of 100,000 items is one row, quickly', async () => {
    const batch = await submitBatch({ ...array('1-100000'), hold: true })
    expect(await host.database.selectFrom('tasks').select('id').execute()).toEqual([{ id: batch.id }])
    expect(batch.items).toMatchObject({ size: 100_000, pending: '1-100000' })
  })

  it('is listed ahead of its items, the last of them first', async () => {
    await host.register('a', { cores: 2 })
    const first = await host.submitOne({ hold: true })
    const batch = await submitBatch(array('1-3'))
    await host.node.ordered(`${batch.id}.2`)
    const last = await host.submitOne({ hold: true })
    const idsOf = async (query: object) => (await host.tasks.list({ limit: 10, level: 'all', ...query })).items.map(({ id }) => id)
    expect(await idsOf({})).toEqual([last, batch.id, `${batch.id}.2`, `${batch.id}.1`, first])
    expect(await idsOf({ level: 'top' })).toEqual([last, batch.id, first])
    expect(await idsOf({ batch: batch.id })).toEqual([`${batch.id}.2`, `${batch.id}.1`])
    const page = await host.tasks.list({ limit: 2, level: 'all' })
    expect((await host.tasks.list({ limit: 9, level: 'all', cursor: page.nextCursor ?? '' })).items.map(({ id }) => id)).toEqual([`${batch.id}.2`, `${batch.id}.1`, first])
  })
})

describe('other batches', () => {
  it('of lines and sweeps have their variables', async () => {
    await host.register('a')
    const lines = await submitBatch({ items: { kind: 'lines', lines: ['a b', ''] }, command: ['echo', '%{line}'] })
    const sweep = await submitBatch({ items: { kind: 'sweep', parameters: [{ name: 'lr', values: ['0.1', '0.01'] }, { name: 'seed', values: ['1', '2', '3'] }] }, command: ['train', '--lr=%{lr}', '%{seed}'], cores: 0 })
    await host.node.ordered(`${lines.id}.1`)
    expect(host.node.orders.get(`${lines.id}.1`)).toMatchObject({ command: ['echo', 'a b'], env: { line: 'a b' } })
    await host.node.ordered(`${sweep.id}.5`)
    expect(host.node.orders.get(`${sweep.id}.5`)).toMatchObject({ command: ['train', '--lr=0.01', '2'], env: { lr: '0.01', seed: '2' } })
    expect(await host.tasks.get(`${sweep.id}.5`)).toMatchObject({ variables: { lr: '0.01', seed: '2' } })
  })

  it('of targets answer with their items', async () => {
    await host.register('a')
    await host.register('b')
    const items = await host.submit({ targets: ['a', 'b'] })
    const batch = items[0]?.batch ?? ''
    expect(items.map(({ id, target }) => [id, target])).toEqual([[`${batch}.1`, 'a'], [`${batch}.2`, 'b']])
    await Promise.all(items.map(({ id }) => host.finish(id)))
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', items: { kind: 'targets', size: 2 } })
  })

  it.each([
    [{ ...array('3-1') }, 'task.items_invalid'],
    [{ ...array('1,,2') }, 'task.items_invalid'],
    [{ ...array('0-999999999') }, 'task.items_invalid'],
    [{ ...array('1-2'), targets: ['a', 'b'] }, 'task.items_invalid'],
    [{ items: { kind: 'sweep' as const, parameters: [{ name: 'x', values: ['1'] }, { name: 'x', values: ['2'] }] } }, 'task.items_invalid'],
    [{ items: { kind: 'sweep' as const, parameters: ['x', 'y', 'z'].map((name) => ({ name, values: Array.from({ length: 101 }, String) })) } }, 'task.items_invalid'],
    [{ parallel: 2 }, 'task.items_invalid'],
    [{ pack: true }, 'task.items_invalid'],
  ])('%j is refused', async (body, code) => {
    await host.register('a')
    await host.register('b')
    await expect(host.submit(body)).rejects.toThrow(expect.objectContaining({ code }))
    expect((await host.tasks.list({ limit: 10, level: 'all' })).items).toEqual([])
  })
})

describe('killing', () => {
  it('a batch ends what waits at once, and what runs with its node', async () => {
    await host.register('a', { cores: 1 })
    const batch = await submitBatch(array('1-5'))
    await host.node.ordered(`${batch.id}.1`)
    expect(await host.tasks.kill(batch.id)).toMatchObject({ wish: 'kill', state: 'running', items: { counts: { assigned: 1, killed: 4 }, pending: '' } })
    expect(await host.tasks.get(`${batch.id}.4`)).toMatchObject({ state: 'killed', reason: 'user' })
    await host.node.killed(`${batch.id}.1`)
    await host.report(`${batch.id}.1`, { state: 'killed', reason: 'user' })
    expect(await host.ended(batch.id)).toMatchObject({ state: 'killed', reason: 'user', items: { counts: { killed: 5 } } })
    await expect(host.tasks.kill(batch.id)).rejects.toThrow(expect.objectContaining({ code: 'task.finished' }))
  })

  it('an item that waits leaves the others', async () => {
    const batch = await submitBatch(array('1-5'))
    expect(await host.tasks.kill(`${batch.id}.3`, 'klaus')).toMatchObject({ state: 'killed', index: 3 })
    expect(await host.tasks.get(batch.id)).toMatchObject({ state: 'queued', items: { pending: '1-2,4-5', counts: { queued: 4, killed: 1 } } })
    expect((await host.tasks.get(`${batch.id}.3`)).events.map(({ event, by }) => [event, by])).toEqual([['submitted', 'user klaus'], ['killed', 'user klaus']])
    await expect(host.tasks.kill(`${batch.id}.3`)).rejects.toThrow(expect.objectContaining({ code: 'task.finished' }))
  })

  it.each([[{ targets: ['a', 'a'] }, { killed: 2 }], [array('1-3'), { killed: 3 }]])('a batch %j that waits is answered with its end', async (body, counts) => {
    await host.register('a')
    const [first] = await host.submit({ ...body, hold: true })
    expect(await host.tasks.kill(first?.batch ?? first?.id ?? '')).toMatchObject({ state: 'killed', items: { counts } })
  })

  it('a batch that waits ends it', async () => {
    const batch = await submitBatch(array('1-5'))
    expect(await host.tasks.kill(batch.id)).toMatchObject({ state: 'killed', reason: 'user', items: { counts: { killed: 5 } } })
  })
})
