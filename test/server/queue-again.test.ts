import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
})
afterEach(() => host.dispose())

const refusal = (code: string) => expect.objectContaining({ code })
const eventsOf = async (id: string) => (await host.tasks.get(id)).events.map(({ event, by, instance }) => `${event} ${instance} ${by}`)

describe('retries', () => {
  it('execute a task again that failed, after a pause, as the next instance', async () => {
    await host.register('a')
    const id = await host.submitOne({ retries: 1 })
    const before = Date.now()
    await host.finish(id, 'failed', 3)
    await host.planned()
    const waiting = await host.tasks.get(id)
    expect(waiting).toMatchObject({ state: 'queued', node: null, exitCode: null, instance: 1, started: null, message: expect.stringContaining('It is tried again at') })
    expect(waiting.events.at(-1)).toMatchObject({ event: 'queued', message: 'Execution 1 failed with exit code 3. Tried again after 1 s; 0 retries left.' })
    await host.node.ordered(id, 2)
    expect(Date.now() - before).toBeGreaterThanOrEqual(1000)
    await host.finish(id, 'failed', 4, 2)
    expect(await host.ended(id)).toMatchObject({ state: 'failed', exitCode: 4, instance: 2 })
    expect(await eventsOf(id)).toEqual(['submitted 0 user klaus', 'assigned 1 host', 'running 1 node a', 'queued 1 node a', 'assigned 2 host', 'running 2 node a', 'failed 2 node a'])
  })

  it.each(['out_of_memory', 'timed_out'] as const)('are for tasks that ended %s too', async (state) => {
    await host.register('a')
    const id = await host.submitOne({ retries: 5 })
    await host.finish(id, state, null)
    expect((await host.store.get(id)).notBefore).toBeGreaterThan(Date.now())
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued' })
  })

  it('pause twice as long each time, and five minutes at most', async () => {
    await host.register('a')
    const id = await host.submitOne({ retries: 20 })
    const pauses: number[] = []
    for (let instance = 1; instance <= 12; instance++) {
      await host.finish(id, 'failed', 1, instance)
      const { notBefore } = await host.store.get(id)
      pauses.push(Math.round(((notBefore ?? 0) - Date.now()) / 1000))
      await host.store.update(id, () => ({ notBefore: null }), 'test')
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300])
  })

  it('are not for what succeeded or was killed', async () => {
    await host.register('a')
    const [good, killed] = [await host.submitOne({ retries: 3 }), await host.submitOne({ retries: 3 })]
    await host.finish(good)
    await host.node.ordered(killed)
    await host.tasks.kill(killed)
    await host.report(killed, { state: 'failed', exitCode: 137 })
    expect((await host.tasks.get(good)).state).toBe('succeeded')
    expect((await host.tasks.get(killed)).state).toBe('failed')
  })

  it('go to another node when the first is silent, and the first is not believed any more', async () => {
    await host.register('a')
    const id = await host.submitOne({ retries: 1 })
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    const late = host.node.report(id, { state: 'succeeded', exitCode: 0 })
    host.silence('a')
    await host.reached(id, 'queued')
    await host.register('b')
    await host.store.update(id, () => ({ notBefore: null }), 'test')
    await host.node.ordered(id, 2)
    expect(await host.tasks.get(id)).toMatchObject({ state: 'assigned', node: 'b', instance: 2 })
    expect(await host.tasks.report('a', 'a', [late])).toEqual({ acknowledged: [], unknown: [{ id, instance: 1 }] })
    expect((await host.tasks.get(id)).state).toBe('assigned')
  })

  it('do not wait for a clock that was set back', async () => {
    await host.register('a')
    const id = await host.submitOne({ retries: 1 })
    await host.finish(id, 'failed', 3)
    await host.store.update(id, () => ({ notBefore: Date.now() + 3_600_000 }), 'test')
    await host.node.ordered(id, 2)
    expect((await host.tasks.get(id)).instance).toBe(2)
  })

  it('wait on after a restart of the Host, each for its time', async () => {
    await host.register('a')
    const id = await host.submitOne({ retries: 1 })
    await host.finish(id, 'failed', 3)
    const { notBefore } = await host.store.get(id)
    await host.restart()
    await host.register('a')
    expect((await host.store.get(id)).notBefore).toBe(notBefore)
    await host.node.ordered(id, 2)
    expect(Date.now()).toBeGreaterThanOrEqual(notBefore ?? Infinity)
  })
})

describe('task retry', () => {
  it('queues what ended badly once more, under its id, with all its retries', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.finish(id, 'failed', 3)
    expect(await host.tasks.retry(id, 'klaus')).toMatchObject({ id, state: 'queued', exitCode: null, finished: null })
    await host.finish(id, 'succeeded', 0, 2)
    expect(await host.ended(id)).toMatchObject({ state: 'succeeded', instance: 2 })
    await expect(host.tasks.retry(id)).rejects.toThrow(refusal('task.state'))
    expect((await eventsOf(id)).slice(3)).toEqual(['failed 1 node a', 'retry 1 user klaus', 'queued 1 user klaus', 'assigned 2 host', 'running 2 node a', 'succeeded 2 node a'])
  })

  it('of what goes on is refused', async () => {
    await expect(host.tasks.retry(await host.submitOne())).rejects.toThrow(refusal('task.state'))
    await expect(host.tasks.retry('00000000000000000000000000')).rejects.toThrow(refusal('task.not_found'))
  })

  it('of a killed task makes it run', async () => {
    const id = await host.submitOne()
    await host.tasks.kill(id)
    await host.tasks.retry(id)
    await host.register('a')
    await host.finish(id)
    expect(await host.ended(id)).toMatchObject({ state: 'succeeded', wish: 'run' })
  })

  it('of a batch takes those that did not succeed, and those that never ran', async () => {
    await host.register('a', { cores: 3 })
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-6' } })
    await host.finish(`${batch}.1`)
    await host.node.ordered(`${batch}.4`)
    await host.tasks.kill(batch)
    for (const index of [2, 3, 4]) await host.report(`${batch}.${index}`, { state: 'killed' })
    expect(await host.ended(batch)).toMatchObject({ state: 'killed', items: { counts: { succeeded: 1, killed: 5 } } })
    await host.nodes.drain('a', '')
    expect(await host.tasks.retry(batch)).toMatchObject({ state: 'queued', wish: 'run', finished: null, items: { pending: '5-6', counts: { succeeded: 1, queued: 5 } } })
    await host.nodes.undrain('a')
    for (const index of [2, 3, 4]) await host.finish(`${batch}.${index}`, 'succeeded', 0, 2)
    for (const index of [5, 6]) await host.finish(`${batch}.${index}`)
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', exitCode: 0, items: { counts: { succeeded: 6 } } })
    await expect(host.tasks.retry(batch)).rejects.toThrow(refusal('task.state'))
  })

  it('of a batch that waits again tells what it is now', async () => {
    await host.register('a')
    const [first] = await host.submit({ targets: ['a', 'a'] })
    const batch = first?.batch ?? ''
    for (const index of [1, 2]) await host.finish(`${batch}.${index}`, 'failed')
    expect((await host.ended(batch)).state).toBe('failed')
    await host.nodes.drain('a', '')
    expect(await host.tasks.retry(batch)).toMatchObject({ state: 'queued', finished: null, items: { counts: { queued: 2 } } })
  })

  it('of a batch and of one of its items at once gives each item its place once', async () => {
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-5' } })
    await host.tasks.kill(batch)
    const { queries } = host.store
    const readIndexes = queries.itemIndexes
    let ofItem: Promise<unknown> | undefined
    vi.spyOn(queries, 'itemIndexes').mockImplementationOnce(async (number) => {
      const found = await readIndexes(number)
      ofItem = host.tasks.retry(`${batch}.3`)
      await host.settled()
      return found
    })
    await host.tasks.retry(batch)
    await ofItem
    await host.register('a', { cores: 9 })
    for (const index of [1, 2, 3, 4, 5]) await host.finish(`${batch}.${index}`)
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', items: { counts: { succeeded: 5 } } })
  })

  it('of one item whose batch waited for another task does not wait again', async () => {
    await host.register('a')
    const first = await host.submitOne()
    await host.finish(first, 'failed')
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-2' }, after: [{ on: 'fail', task: first }] })
    await host.finish(`${batch}.1`)
    await host.finish(`${batch}.2`, 'failed')
    await host.ended(batch)
    await host.tasks.retry(first)
    await host.finish(first, 'succeeded', 0, 2)
    await host.ended(first)
    await host.tasks.retry(`${batch}.2`)
    await host.finish(`${batch}.2`, 'succeeded', 0, 2)
    expect((await host.ended(batch)).state).toBe('succeeded')
  })

  it('of one item brings its batch back', async () => {
    await host.register('a')
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-2' } })
    await host.finish(`${batch}.1`)
    await host.finish(`${batch}.2`, 'failed', 9)
    expect(await host.ended(batch)).toMatchObject({ state: 'failed', exitCode: 9 })
    await host.tasks.retry(`${batch}.2`)
    await host.reached(batch, 'queued', 'running')
    await host.finish(`${batch}.2`, 'succeeded', 0, 2)
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', exitCode: 0 })
  })
})

describe('task rerun', () => {
  it('with a key submits once, also an item, whose variables are the Host\'s own', async () => {
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-3' }, command: ['echo', '%{index}'] })
    const body = { latest: false, submitter: '', key: 'once-and-for-all' }
    const [first, second] = [await host.tasks.rerun(`${batch}.2`, body), await host.tasks.rerun(`${batch}.2`, body)]
    expect(first.tasks[0]).toMatchObject({ command: ['echo', '2'], env: { HAKURIVER_ARRAY_INDEX: '2' } })
    expect(second.tasks.map(({ id }) => id)).toEqual(first.tasks.map(({ id }) => id))
  })

  it('submits the same again, in the pinned version', async () => {
    const id = await host.submitOne({ command: ['a', 'b'], env: { X: '1' }, cores: 2, memoryBytes: 1e8, priority: 3, retries: 2, name: 'mine' })
    await host.publish(8)
    const { tasks: [again] } = await host.tasks.rerun(id, { latest: false, submitter: '' }, 'eva')
    expect(again).toMatchObject({ command: ['a', 'b'], env: { X: '1' }, cores: 2, memoryBytes: 1e8, priority: 3, retries: 2, name: 'mine', version: 7, submitter: 'eva', state: 'queued', instance: 0 })
    expect(again?.id).not.toBe(id)
    expect((await host.tasks.rerun(id, { latest: true, submitter: '' })).tasks[0]?.version).toBe(8)
  })

  it('of an item is a task of its own with its values; of a batch a batch', async () => {
    const batch = await host.submitOne({ items: { kind: 'lines', lines: ['x', 'y z'] }, command: ['echo', '%{line}'], parallel: 1, hold: true })
    const { tasks: [item] } = await host.tasks.rerun(`${batch}.2`, { latest: false, submitter: '' })
    expect(item).toMatchObject({ batch: null, items: null, command: ['echo', 'y z'], env: { line: 'y z', HAKURIVER_ARRAY_INDEX: '2' }, wish: 'run' })
    const { tasks: [whole] } = await host.tasks.rerun(batch, { latest: false, submitter: '' })
    expect(whole).toMatchObject({ command: ['echo', '%{line}'], items: { kind: 'lines', size: 2, parallel: 1 } })
    expect(await host.tasks.get(`${whole?.id}.2`)).toMatchObject({ variables: { line: 'y z' } })
  })

  it('of a batch of targets has the same targets', async () => {
    await host.register('a')
    const [first] = await host.submit({ targets: ['a', 'a'] })
    const { tasks: again } = await host.tasks.rerun(first?.batch ?? '', { latest: false, submitter: '' })
    expect(again.map(({ target, index }) => [target, index])).toEqual([['a', 1], ['a', 2]])
  })

  it('of a batch of targets leaves an item to any node that was moved so', async () => {
    for (const name of ['a', 'b']) await host.register(name)
    const [first] = await host.submit({ targets: ['a', 'b'], parallel: 1, hold: true })
    await host.tasks.move(`${first?.batch}.2`, { target: null })
    const { tasks: again } = await host.tasks.rerun(first?.batch ?? '', { latest: false, submitter: '' })
    expect(again.map(({ target, index }) => [target, index])).toEqual([['a', 1], [null, 2]])
  })

  it('of an item repeats what its values made of the command, whatever that is', async () => {
    const batch = await host.submitOne({ items: { kind: 'lines', lines: ['', 'x'.repeat(60_000)] }, command: ['%{line}', '%{line}%{line}%{line}'], hold: true })
    const repeat = (index: number) => host.tasks.rerun(`${batch}.${index}`, { latest: false, submitter: '' })
    expect((await repeat(1)).tasks[0]?.command).toEqual(['', ''])
    await expect(repeat(2)).rejects.toThrow(refusal('task.command_invalid'))
  })
})
