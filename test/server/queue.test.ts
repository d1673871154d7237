import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TaskReport } from '#core/api/schemas.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
})
afterEach(() => host.dispose())

const report = (hostname: string, ...reports: TaskReport[]) => host.tasks.report(hostname, hostname, reports)

describe('submit', () => {
  it('pins the version and gives the order to the node', async () => {
    await host.register('a')
    const id = await host.submitOne({ command: ['echo', 'a b', ''], env: { X: '1' } })
    await host.node.ordered(id)
    expect(host.node.orders.get(id)).toMatchObject({ image: { environment: 'my-env', version: 7, fileName: 'my-env-7.tar', configDigest: `sha256:${'1'.repeat(64)}` }, command: ['echo', 'a b', ''], env: { X: '1' } })
    expect(await host.tasks.get(id)).toMatchObject({ state: 'assigned', node: 'a', version: 7 })
  })

  it('makes one task for each target', async () => {
    await host.register('a')
    await host.register('b')
    const made = await host.submit({ targets: ['a', 'b'] })
    expect(made.map(({ target, index, batch }) => [target, index, batch])).toEqual([['a', 1, made[0]?.batch], ['b', 2, made[0]?.batch]])
    await Promise.all(made.map(({ id }) => host.node.ordered(id)))
    expect((await Promise.all(made.map(({ id }) => host.tasks.get(id)))).map((task) => task.node)).toEqual(['a', 'b'])
  })

  it.each([
    [{ targets: ['a', 'ghost'] }, 'node.not_found'],
    [{ targets: ['a:'] }, 'target.invalid'],
    [{ environment: 'my-env-gpu' }, 'environment.no_version'],
    [{ cores: 5 }, 'node.too_small'],
    [{ memoryBytes: 2e9 }, 'node.too_small'],
    [{ mounts: ['/etc:/x'] }, 'task.mount_not_allowed'],
    [{ mounts: ['x'] }, 'task.command_invalid'],
  ])('%j → %s, and nothing is created', async (body, code) => {
    await host.register('a')
    await expect(host.submit(body)).rejects.toThrow(expect.objectContaining({ code }))
    expect((await host.tasks.list({ limit: 10, level: 'all' })).items).toEqual([])
  })

  it('waits for a node, and says so', async () => {
    const id = await host.submitOne()
    await host.planned()
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued', node: null, message: expect.stringContaining('node') })
    await host.register('a')
    await host.node.ordered(id)
    expect(await host.tasks.get(id)).toMatchObject({ state: 'assigned', node: 'a', message: null })
  })

  it('waits for room, and takes it as soon as there is some', async () => {
    await host.register('a', { cores: 2 })
    const first = await host.submitOne({ cores: 2 })
    const second = await host.submitOne({ cores: 1 })
    await host.node.ordered(first)
    expect((await host.tasks.get(second)).state).toBe('queued')
    expect(host.tasks.toNode(host.nodes.get('a'))).toMatchObject({ cores: 2, coresReserved: 2 })
    await report('a', host.node.report(first, { state: 'succeeded', exitCode: 0 }))
    await host.node.ordered(second)
    expect(host.tasks.toNode(host.nodes.get('a'))).toMatchObject({ coresReserved: 1 })
  })
})

describe('reports', () => {
  it('take a task through its life, and wake who waits', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    const ended = host.tasks.get(id, 30)
    const started = new Date().toISOString()
    await report('a', host.node.report(id, { state: 'running', started }))
    expect((await host.tasks.get(id)).state).toBe('running')
    expect(await report('a', host.node.report(id, { state: 'failed', exitCode: 3, reason: 'exited' }))).toEqual({ acknowledged: [{ id, instance: 1 }], unknown: [] })
    expect(await ended).toMatchObject({ state: 'failed', exitCode: 3, reason: 'exited', started })
  })

  it('that were overtaken, doubled or come after the end change nothing', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    const running = host.node.report(id, { state: 'running' })
    const done = host.node.report(id, { state: 'succeeded', exitCode: 0 })
    await report('a', done)
    expect(await report('a', running, done)).toEqual({ acknowledged: [{ id, instance: 1 }, { id, instance: 1 }], unknown: [] })
    expect((await host.tasks.get(id)).state).toBe('succeeded')
  })

  it('of the end count even if their node counts from lower than before', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await report('a', host.node.report(id, { state: 'running', sequence: 5000 }))
    await report('a', host.node.report(id, { state: 'succeeded', exitCode: 0, sequence: 4000 }))
    expect(await host.tasks.get(id)).toMatchObject({ state: 'succeeded', exitCode: 0 })
  })

  it('of strangers are refused', async () => {
    await host.register('a')
    await host.register('b')
    const id = await host.submitOne({ targets: ['a'] })
    await host.node.ordered(id)
    expect(await report('b', host.node.report(id, { state: 'succeeded' }))).toEqual({ acknowledged: [], unknown: [{ id, instance: 1 }] })
    await expect(host.tasks.report('a', 'an older start', [host.node.report(id, { state: 'succeeded' })])).rejects.toThrow(expect.objectContaining({ code: 'node.not_found' }))
    expect((await host.tasks.get(id)).state).toBe('assigned')
  })
})

describe('kill', () => {
  it('ends a queued task at once', async () => {
    const id = await host.submitOne()
    expect(await host.tasks.kill(id)).toMatchObject({ state: 'killed', reason: 'user' })
    await expect(host.tasks.kill(id)).rejects.toThrow(expect.objectContaining({ code: 'task.finished' }))
    await expect(host.tasks.kill('unknown')).rejects.toThrow(expect.objectContaining({ code: 'task.not_found' }))
  })

  it('reaches the node, which tells the end', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await report('a', host.node.report(id, { state: 'running' }))
    expect(await host.tasks.kill(id)).toMatchObject({ state: 'running', wish: 'kill' })
    await host.node.killed(id)
    await report('a', host.node.report(id, { state: 'killed', reason: 'user' }))
    expect(await host.tasks.get(id)).toMatchObject({ state: 'killed' })
  })

  it('of a task that never reached its node ends it, and the node may not start it late', async () => {
    await host.register('a')
    host.node.reachable = false
    const id = await host.submitOne()
    await host.tasks.kill(id)
    host.node.reachable = true
    await host.reached(id, 'killed')
    expect(await report('a', host.node.report(id, { state: 'running' }))).toEqual({ acknowledged: [], unknown: [{ id, instance: 1 }] })
  })
})

describe('pause', () => {
  it('freezes and goes on', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await expect(host.tasks.pause(id)).rejects.toThrow(expect.objectContaining({ code: 'task.state' }))
    await report('a', host.node.report(id, { state: 'running' }))
    expect(await host.tasks.pause(id)).toMatchObject({ state: 'paused', wish: 'pause' })
    expect(host.tasks.toNode(host.nodes.get('a')).coresReserved).toBe(1)
    expect(await host.tasks.resume(id)).toMatchObject({ state: 'running', wish: 'run' })
  })

  it('of what ends at that moment is not a wish of its next execution', async () => {
    await host.register('a')
    const id = await host.submitOne({ retries: 1 })
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    const { dispatcher } = host.node
    const { pause } = dispatcher
    dispatcher.pause = async (...args) => {
      const paused = await pause(...args)
      await host.report(id, { state: 'failed', exitCode: 1, reason: 'exited' })
      return paused
    }
    expect(await host.tasks.pause(id)).toMatchObject({ state: 'queued', wish: 'run' })
  })
})

describe('faults', () => {
  it('an order is repeated until the node answers, and started once', async () => {
    await host.register('a')
    host.node.reachable = false
    const id = await host.submitOne()
    await host.node.tried(id, 3)
    host.node.reachable = true
    await host.node.ordered(id)
    expect(host.node.starts.get(id)).toBe(1)
  })

  it('an order that the node refuses fails the task, with its words', async () => {
    await host.register('a')
    host.node.refuse = 'no such thing here'
    const id = await host.submitOne()
    await host.reached(id, 'failed')
    expect(await host.tasks.get(id)).toMatchObject({ state: 'failed', reason: 'node_refused', message: expect.stringContaining('no such thing here') })
  })

  it('a restarted Host goes on with all it had accepted', async () => {
    await host.register('a', { cores: 1 })
    host.node.reachable = false
    const first = await host.submitOne()
    const second = await host.submitOne()
    host.node.reachable = true
    await host.restart()
    await host.node.ordered(first)
    await report('a', host.node.report(first, { state: 'succeeded', exitCode: 0 }))
    await host.node.ordered(second)
    expect(host.node.starts).toEqual(new Map([[first, 1], [second, 1]]))
  })

  it('a queue that was closed listens to nobody any more', () => {
    host.tasks.close()
    expect([host.store.changes, host.nodes.events, host.verifications.events].flatMap((events) => events.eventNames())).toEqual([])
  })

  it('a task of a silent node is lost, and comes back with it', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await report('a', host.node.report(id, { state: 'running' }))
    host.nodes.events.emit('offline', host.nodes.get('a'))
    await host.reached(id, 'lost')
    expect(await host.tasks.get(id)).toMatchObject({ reason: 'node_unreachable' })
    const back = host.reached(id, 'running')
    await host.nodes.heartbeat('a', { instanceId: 'a', usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: [{ id, instance: 1 }] })
    await back
    expect(host.node.starts.get(id)).toBe(1)
    expect(await host.tasks.get(id)).toMatchObject({ state: 'running', reason: null })
  })

  it('a task that its node forgot is lost after two heartbeats without it', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await report('a', host.node.report(id, { state: 'running' }))
    const beat = () => host.nodes.heartbeat('a', { instanceId: 'a', usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: [] })
    await beat()
    expect((await host.tasks.get(id)).state).toBe('running')
    const lost = host.reached(id, 'lost')
    await beat()
    await lost
    expect(await host.tasks.get(id)).toMatchObject({ reason: 'node_forgot' })
  })
})
