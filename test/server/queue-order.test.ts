import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { TaskRecord } from '#server/queue/task-record.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
})
afterEach(() => host.dispose())

const refusal = (code: string) => expect.objectContaining({ code })
const queue = () => host.store.live.waiting().map(({ id }) => id)

describe('the order of the queue', () => {
  it('is by priority, then as they came', async () => {
    const [one, two, three] = [await host.submitOne(), await host.submitOne({ priority: 5 }), await host.submitOne({ priority: 5 })]
    const four = await host.submitOne({ priority: -1 })
    expect(queue()).toEqual([two, three, one, four])
  })

  it('can be changed: first, last, ahead of another, and with another priority', async () => {
    const ids = [await host.submitOne(), await host.submitOne(), await host.submitOne()] as const
    const [one, two, three] = ids
    await host.tasks.move(three, { to: 'first' })
    expect(queue()).toEqual([three, one, two])
    await host.tasks.move(three, { to: 'last' })
    expect(queue()).toEqual([one, two, three])
    const four = await host.submitOne()
    expect(queue()).toEqual([one, two, three, four])
    await host.tasks.move(four, { to: { before: two } })
    expect(queue()).toEqual([one, four, two, three])
    expect(await host.tasks.move(two, { priority: 7 }, 'klaus')).toMatchObject({ priority: 7 })
    expect(queue()).toEqual([two, one, four, three])
    await host.tasks.move(three, { to: { before: two } })
    expect(queue()).toEqual([three, two, one, four])
    expect((await host.tasks.get(two)).events.at(-1)).toMatchObject({ event: 'move', by: 'user klaus', message: 'priority 7' })
    expect((await host.tasks.get(three)).priority).toBe(7)
  })

  it('survives a thousand moves to the same place, and a restart', async () => {
    const ids = [await host.submitOne(), await host.submitOne(), await host.submitOne(), await host.submitOne()]
    const [first = '', second = '', third = '', last = ''] = ids
    for (let round = 0; round < 100; round++) {
      await host.tasks.move(second, { to: { before: last } })
      await host.tasks.move(third, { to: { before: last } })
      expect(queue()).toEqual([first, second, third, last])
    }
    await host.restart()
    expect(queue()).toEqual(ids)
  })

  it('keeps what was moved last behind the others, and ahead of what comes after a restart', async () => {
    const ids = [await host.submitOne(), await host.submitOne()]
    for (let round = 0; round < 3; round++) await host.tasks.move(ids[0] ?? '', { to: 'last' })
    await host.restart()
    ids.push(await host.submitOne())
    expect(queue()).toEqual([ids[1], ids[0], ids[2]])
  })

  it('can be changed however many wait', async () => {
    const id = await host.submitOne({ hold: true })
    const [own] = host.store.live.waiting()
    const others = Array.from({ length: 200_000 }, (_, index) => ({ id: String(index), batch: null, priority: 0, rank: 1 - index }))
    vi.spyOn(host.store.live, 'waiting').mockReturnValueOnce([...others, own] as TaskRecord[])
    await host.tasks.move(id, { to: 'first' })
    expect((await host.store.get(id)).rank).toBeLessThan(1 - 199_999)
  })

  it('holds batches, and items of them that were moved alone', async () => {
    const one = await host.submitOne()
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-3' } })
    await host.tasks.move(batch, { to: 'first' })
    expect(queue()).toEqual([batch, one])
    await host.tasks.move(`${batch}.2`, { to: 'last' })
    expect(queue()).toEqual([batch, one, `${batch}.2`])
    expect(await host.tasks.get(batch)).toMatchObject({ items: { pending: '1,3', counts: { queued: 3 } } })
  })

  it('can be changed for what waits alone, with another target too', async () => {
    await host.register('a', { cores: 1 })
    await host.register('b', { cores: 8 })
    const running = await host.submitOne({ targets: ['a'] })
    const waiting = await host.submitOne({ targets: ['a'] })
    await host.node.ordered(running)
    await expect(host.tasks.move(running, { to: 'first' })).rejects.toThrow(refusal('task.state'))
    await expect(host.tasks.move(waiting, { target: 'ghost' })).rejects.toThrow(refusal('node.not_found'))
    await expect(host.tasks.move(waiting, { target: 'b:4' })).rejects.toThrow(refusal('node.too_small'))
    await expect(host.tasks.move(waiting, { to: { before: running } })).rejects.toThrow(refusal('task.state'))
    expect(await host.tasks.move(waiting, { target: 'b' })).toMatchObject({ target: 'b' })
    await host.node.ordered(waiting)
    expect((await host.tasks.get(waiting)).node).toBe('b')
    await host.finish(running)
    await expect(host.tasks.move(running, { to: 'first' })).rejects.toThrow(refusal('task.finished'))
  })
})

describe('a hold', () => {
  it('keeps a task until it is released', async () => {
    await host.register('a')
    const id = await host.submitOne({ hold: true })
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued', wish: 'hold', message: expect.stringContaining('It is held') })
    expect(await host.tasks.release(id, 'klaus')).toMatchObject({ wish: 'run' })
    await host.node.ordered(id)
    await expect(host.tasks.release(id)).rejects.toThrow(refusal('task.state'))
    await expect(host.tasks.hold(id)).rejects.toThrow(refusal('task.state'))
  })

  it('of a batch keeps what waits of it, and lets what runs go on', async () => {
    await host.register('a', { cores: 1 })
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-3' } })
    await host.node.ordered(`${batch}.1`)
    expect(await host.tasks.hold(batch)).toMatchObject({ wish: 'hold', state: 'running' })
    await host.finish(`${batch}.1`)
    await host.planned()
    expect((await host.tasks.get(batch)).items?.counts).toEqual({ succeeded: 1, queued: 2 })
    await host.tasks.release(batch)
    await host.node.ordered(`${batch}.2`)
    expect((await host.tasks.get(`${batch}.2`)).wish).toBe('run')
  })

  it('of one item leaves the others', async () => {
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-2' }, cores: 1 })
    await host.tasks.hold(`${batch}.1`)
    await host.register('a', { cores: 4 })
    await host.finish(`${batch}.2`)
    expect(await host.tasks.get(`${batch}.1`)).toMatchObject({ state: 'queued', wish: 'hold' })
    await host.tasks.release(`${batch}.1`)
    await host.finish(`${batch}.1`)
    expect((await host.ended(batch)).state).toBe('succeeded')
  })
})

describe('a time', () => {
  it('is waited for, also over a restart', async () => {
    await host.register('a')
    const at = new Date(Date.now() + 700).toISOString()
    const id = await host.submitOne({ at })
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued', at, message: `It starts at ${at}, or later.` })
    await host.restart()
    await host.node.ordered(id)
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(at))
  })
})

describe('dependencies', () => {
  const after = (on: 'ok' | 'fail' | 'any', task: string) => ({ after: [{ on, task }] })

  it('keep a task until they have come true', async () => {
    await host.register('a')
    const first = await host.submitOne()
    const second = await host.submitOne(after('ok', first))
    await host.node.ordered(first)
    await host.planned()
    expect((await host.tasks.get(second)).message).toBe(`Waits for the task ${first} to succeed; it is assigned.`)
    await host.finish(first)
    await host.node.ordered(second)
  })

  it.each([['ok', 'failed'], ['fail', 'succeeded']] as const)('%s: of a task that %s fail, and so do those behind', async (on, state) => {
    await host.register('a')
    const first = await host.submitOne()
    const second = await host.submitOne(after(on, first))
    const third = await host.submitOne(after('ok', second))
    const batch = await host.submitOne({ ...after('ok', third), items: { kind: 'array', indexes: '1-5' } })
    await host.finish(first, state)
    expect(await host.ended(second)).toMatchObject({ state: 'failed', reason: 'dependency', message: expect.stringContaining(first) })
    expect(await host.ended(third)).toMatchObject({ state: 'failed', reason: 'dependency' })
    expect(await host.ended(batch)).toMatchObject({ state: 'failed', reason: 'dependency', items: { counts: { failed: 5 } } })
    expect(await host.tasks.get(`${batch}.2`)).toMatchObject({ state: 'failed', reason: 'dependency' })
  })

  it.each([['any', 'failed'], ['any', 'succeeded'], ['fail', 'timed_out'], ['fail', 'killed']] as const)('%s: of a task that %s are met', async (on, state) => {
    await host.register('a')
    const first = await host.submitOne()
    const second = await host.submitOne(after(on, first))
    await host.finish(first, state)
    await host.node.ordered(second)
    expect((await host.tasks.get(second)).state).toBe('assigned')
  })

  it('wait for batches and items, and while a task may come back with its node', async () => {
    await host.register('a', { cores: 2 })
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-2' } })
    const behindItem = await host.submitOne({ ...after('ok', `${batch}.1`), cores: 0 })
    const behindBatch = await host.submitOne({ ...after('ok', batch), cores: 0 })
    await host.finish(`${batch}.1`)
    await host.node.ordered(behindItem)
    await host.node.ordered(`${batch}.2`)
    await host.report(`${batch}.2`, { state: 'running' })
    host.silence('a')
    await host.reached(`${batch}.2`, 'lost')
    await host.planned()
    expect((await host.tasks.get(behindBatch)).state).toBe('queued')
    await host.beat('a')
    await host.reached(`${batch}.2`, 'running')
    await host.finish(`${batch}.2`)
    await host.node.ordered(behindBatch)
    expect((await host.ended(batch)).state).toBe('succeeded')
  })

  it('on a task or batch that was lost fail once its node has forgotten it', async () => {
    await host.register('a')
    const first = await host.submitOne()
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1' } })
    const waiting = [await host.submitOne(after('ok', first)), await host.submitOne(after('ok', batch))]
    for (const id of [first, `${batch}.1`]) {
      await host.node.ordered(id)
      await host.report(id, { state: 'running' })
    }
    host.silence('a')
    await host.ended(batch)
    host.node.forget('a', host.node.known('a'))
    for (let beats = 0; beats < 2; beats++) await host.beat('a')
    for (const id of waiting) expect(await host.ended(id)).toMatchObject({ state: 'failed', reason: 'dependency' })
  })

  it('are kept by a restart of the Host', async () => {
    await host.register('a')
    const first = await host.submitOne()
    const second = await host.submitOne(after('ok', first))
    await host.finish(first)
    await host.restart()
    await host.register('a')
    await host.node.ordered(second)
    expect((await host.tasks.get(second)).state).toBe('assigned')
  })

  it('on what nobody knows are refused; on what ended already they are as good as ever', async () => {
    await expect(host.submit(after('ok', '00000000000000000000000000'))).rejects.toThrow(refusal('task.not_found'))
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-2' } })
    await expect(host.submit(after('ok', `${batch}.3`))).rejects.toThrow(refusal('task.not_found'))
    await host.tasks.kill(batch)
    expect(await host.ended(await host.submitOne(after('ok', batch)))).toMatchObject({ state: 'failed', reason: 'dependency' })
    await host.register('a')
    await host.node.ordered(await host.submitOne(after('fail', `${batch}.2`)))
  })
})
