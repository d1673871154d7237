import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { WaitingReason } from '#core/api/schemas.ts'
import type { Write } from '#core/database/group-writer.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'

let host: QueueHost
beforeEach(async () => {
  host = await createQueueHost()
})
afterEach(() => host.dispose())

const nobodyWants = (id: string, instance: number) => ({ acknowledged: [], unknown: [{ id, instance }] })

describe('a node that is silent', () => {
  it('loses its tasks, and brings them back as they are', async () => {
    await host.register('a')
    const [running, done, fresh] = [await host.submitOne(), await host.submitOne(), await host.submitOne()]
    for (const id of [running, done]) {
      await host.node.ordered(id)
      await host.report(id, { state: 'running' })
    }
    await host.node.ordered(fresh)
    const end = host.node.report(done, { state: 'succeeded', exitCode: 0 })
    host.silence('a')
    for (const id of [running, done]) expect(await host.ended(id)).toMatchObject({ state: 'lost', reason: 'node_unreachable' })
    // Nobody gets their place meanwhile.
    expect(host.tasks.toNode(host.nodes.get('a')).coresReserved).toBe(3)
    const next = await host.submitOne({ cores: 2 })
    await host.beat('a')
    expect(await host.reached(running, 'running')).toMatchObject({ reason: null, finished: null })
    await host.reached(done, 'succeeded')
    expect(await host.tasks.report('a', 'a', [end])).toEqual({ acknowledged: [{ id: done, instance: 1 }], unknown: [] })
    await host.node.ordered(next)
    expect(host.tasks.toNode(host.nodes.get('a')).coresReserved).toBe(4)
  })

  it('that comes back without them has lost them for good', async () => {
    await host.register('a')
    const id = await host.submitOne({ cores: 4 })
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    const [running, done] = [host.node.report(id, { state: 'running' }), host.node.report(id, { state: 'succeeded', exitCode: 0 })]
    host.silence('a')
    await host.ended(id)
    host.node.forget('a', host.node.known('a'))
    const next = await host.submitOne({ cores: 4 })
    for (let beats = 0; beats < 2; beats++) await host.beat('a')
    await host.node.ordered(next)
    expect(await host.tasks.get(id)).toMatchObject({ state: 'lost', reason: 'node_forgot' })
    expect(await host.tasks.report('a', 'a', [running])).toEqual(nobodyWants(id, 1))
    expect(await host.tasks.report('a', 'a', [done])).toEqual({ acknowledged: [{ id, instance: 1 }], unknown: [] })
    expect((await host.tasks.get(id)).state).toBe('succeeded')
  })

  it('ends what was killed meanwhile when it is back', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    host.silence('a')
    await host.ended(id)
    expect(await host.tasks.kill(id)).toMatchObject({ state: 'lost', wish: 'kill' })
    await host.beat('a')
    await host.node.killed(id)
    await host.report(id, { state: 'killed', reason: 'user' })
    expect(await host.ended(id)).toMatchObject({ state: 'killed' })
  })

  it('does not get back what was retried by hand: what it still runs is ended', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    const late = host.node.report(id, { state: 'running' })
    host.silence('a')
    await host.ended(id)
    await host.tasks.retry(id)
    await host.register('b')
    await host.node.ordered(id, 2)
    await host.beat('a')
    await host.settled()
    expect((await host.tasks.get(id)).node).toBe('b')
    await host.beat('a')
    await host.node.killed(id)
    expect(await host.tasks.report('a', 'a', [late])).toEqual(nobodyWants(id, 1))
    await host.finish(id, 'succeeded', 0, 2)
    expect(await host.ended(id)).toMatchObject({ state: 'succeeded', instance: 2 })
  })

  it('keeps what it was only sent, unless that may be executed again', async () => {
    await host.register('a')
    host.node.unreachable.add('a')
    const [once, again] = [await host.submitOne(), await host.submitOne({ retries: 1 })]
    await host.node.tried(once, 1)
    await host.node.tried(again, 1)
    host.silence('a')
    await host.reached(again, 'queued')
    expect((await host.tasks.get(once)).state).toBe('assigned')
    host.node.unreachable.clear()
    await host.node.ordered(once)
  })
})

describe('what a node still runs although it was taken from it', () => {
  const gpu = { id: 0, uuid: 'GPU-0', name: 'a GPU', memoryBytes: 1e9, numaNode: null }
  let id: string

  /** With a node that runs a task on its one GPU, and is silent. */
  async function begin(retries: number): Promise<void> {
    await host.register('a', { gpus: [gpu] })
    id = await host.submitOne({ gpus: 1, retries })
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    host.silence('a')
    await (retries > 0 ? host.reached(id, 'queued') : host.ended(id))
  }

  /** Why another one waits when the node is back, and what is kept once it has told that the first is gone and runs the other. */
  async function follow(): Promise<{ reason: WaitingReason | null | undefined; reserved: number[]; kept: unknown[] }> {
    const other = await host.submitOne({ gpus: 1, priority: 5 })
    await host.beat('a')
    await host.planned()
    const reason = host.tasks.plan()?.nodesFor(other)[0]?.reason
    const reserved = host.tasks.toNode(host.nodes.get('a')).gpusReserved
    await host.node.killed(id)
    host.node.forget('a', host.node.known('a'))
    await host.beat('a')
    await host.finish(other)
    return { reason, reserved, kept: await host.database.selectFrom('left_behind').selectAll().execute() }
  }

  const waitsForIt = () => ({ reason: { code: 'no_room', message: expect.stringContaining(id) as unknown }, reserved: [0], kept: [] })

  it('keeps its place, if its task is tried again by itself', async () => {
    await begin(1)
    expect(await follow()).toEqual(waitsForIt())
  })

  it('keeps its place, if its task is retried by hand', async () => {
    await begin(0)
    await host.tasks.retry(id)
    expect(await follow()).toEqual(waitsForIt())
  })

  it('keeps its place over a restart of the Host', async () => {
    await begin(1)
    await host.restart()
    await host.register('a', { gpus: [gpu] })
    expect(await follow()).toEqual(waitsForIt())
  })

  it('keeps its place for a Runner that registers again after its node was removed', async () => {
    await begin(0)
    await host.nodes.remove('a')
    await vi.waitUntil(() => !host.store.live.hasLost(id))
    await host.register('a', { gpus: [gpu] })
    expect(await follow()).toEqual(waitsForIt())
  })

  it('frees its place with the next beat of a node that has it no more', async () => {
    await begin(1)
    host.node.forget('a', host.node.known('a'))
    const other = await host.submitOne({ gpus: 1, priority: 5 })
    await host.beat('a')
    await host.node.ordered(other)
    expect(host.store.live.reservations.leftOn('a')).toEqual([])
  })
})

describe('a node that is gone by the time at which it is given a task', () => {
  const isAssignment = ({ statements }: Write) => statements.some(({ parameters }) => parameters.includes('assigned'))

  it.each([['offline', 0], ['offline', 1], ['removed', 0]])('(%s) does not keep it, whatever retries it has (%i)', async (how, retries) => {
    await host.register('a')
    host.disk.onWrite = (write) => {
      if (!isAssignment(write)) return
      host.disk.onWrite = undefined
      host.node.unreachable.add('a')
      host.silence('a')
      if (how === 'removed') void host.nodes.remove('a')
    }
    const id = await host.submitOne({ retries })
    await vi.waitUntil(() => host.store.live.get(id)?.instance === 1)
    await host.reached(id, 'queued')
    await host.register('b')
    await host.node.ordered(id, 2)
    expect(host.node.orders.get(id)?.instance).toBe(2)
    expect(await host.store.get(id)).toMatchObject({ node: 'b', retriesLeft: retries })
  })

  it('does not get an order that was killed meanwhile', async () => {
    await host.register('a')
    let kill: Promise<unknown> | undefined
    host.disk.onWrite = (write) => {
      if (!isAssignment(write)) return
      host.disk.onWrite = undefined
      host.silence('a')
      kill = host.tasks.kill(id)
    }
    const id = await host.submitOne()
    expect(await host.ended(id)).toMatchObject({ state: 'killed', reason: 'user' })
    await kill
    expect(host.node.orders.size).toBe(0)
  })
})

describe('an answer that is lost', () => {
  it('starts a task once', async () => {
    await host.register('a')
    host.node.loseAnswers = true
    const id = await host.submitOne()
    await host.node.tried(id, 3)
    host.node.loseAnswers = false
    await host.finish(id)
    expect(await host.ended(id)).toMatchObject({ state: 'succeeded', instance: 1 })
    expect(host.node.starts.get(id)).toBe(1)
  })
})

describe('a node that is removed', () => {
  it('loses what it had, for good, or gives it to others', async () => {
    await host.register('a')
    const [once, again] = [await host.submitOne(), await host.submitOne({ retries: 1 })]
    for (const id of [once, again]) {
      await host.node.ordered(id)
      await host.report(id, { state: 'running' })
    }
    host.nodes.get('a').online = false
    await host.nodes.remove('a')
    expect(await host.ended(once)).toMatchObject({ state: 'lost', reason: 'node_removed' })
    await host.reached(again, 'queued')
    expect((await host.tasks.get(again)).events.at(-1)?.message).toContain('was removed')
    await host.register('b')
    await host.store.update(again, () => ({ notBefore: null }), 'test')
    await host.node.ordered(again, 2)
  })
})

describe('a node that is drained', () => {
  it('goes on with what it has, and gets nothing more', async () => {
    await host.register('a')
    const first = await host.submitOne()
    await host.node.ordered(first)
    await host.nodes.drain('a', 'new disk')
    const second = await host.submitOne()
    await host.planned()
    expect((await host.tasks.get(second)).message).toContain('drained')
    await host.finish(first)
    expect((await host.tasks.get(second)).state).toBe('queued')
    await host.nodes.undrain('a')
    await host.node.ordered(second)
  })
})

describe('a Host that restarts', () => {
  it('goes on with batches as if nothing had been', async () => {
    await host.register('a', { cores: 2 })
    const batch = await host.submitOne({ items: { kind: 'lines', lines: ['a', 'b', 'c', 'd', 'e'] }, command: ['echo', '%{line}'], parallel: 2 })
    await host.finish(`${batch}.1`, 'failed', 7)
    await host.finish(`${batch}.2`)
    await host.node.ordered(`${batch}.4`)
    await host.tasks.kill(`${batch}.5`)
    await host.restart()
    await host.register('a', { cores: 2 })
    expect(await host.tasks.get(batch)).toMatchObject({ state: 'running', items: { pending: '', counts: { failed: 1, succeeded: 1, assigned: 2, killed: 1 } } })
    expect(host.tasks.toNode(host.nodes.get('a')).coresReserved).toBe(2)
    await host.finish(`${batch}.3`)
    await host.finish(`${batch}.4`)
    expect(await host.ended(batch)).toMatchObject({ state: 'failed', exitCode: 7, items: { counts: { failed: 1, succeeded: 3, killed: 1 } } })
    expect(host.node.orders.get(`${batch}.4`)?.command).toEqual(['echo', 'd'])
    expect(host.tasks.toNode(host.nodes.get('a'))).toMatchObject({ coresReserved: 0, tasks: 0 })
  })

  it('goes on with 50 that run and 500 that wait', async () => {
    await host.register('a', { cores: 50 })
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1-550' } })
    await host.node.ordered(`${batch}.50`)
    await host.restart()
    await host.register('a', { cores: 50 })
    for (let index = 1; index <= 550; index++) await host.finish(`${batch}.${index}`)
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', items: { counts: { succeeded: 550 } } })
    expect([...host.node.starts.values()].every((starts) => starts === 1)).toBe(true)
    expect(host.node.starts.size).toBe(550)
  })

  it('loses the tasks of a node that it removed as it died', async () => {
    await host.register('a')
    const id = await host.submitOne()
    await host.node.ordered(id)
    await host.report(id, { state: 'running' })
    await host.database.deleteFrom('nodes').execute()
    await host.restart()
    expect(await host.ended(id)).toMatchObject({ state: 'lost', reason: 'node_removed' })
  })

  it('ends a batch whose last item ended as the Host died', async () => {
    await host.register('a')
    const batch = await host.submitOne({ items: { kind: 'array', indexes: '1' } })
    await host.node.ordered(`${batch}.1`)
    await host.reached(batch, 'running')
    await host.database.updateTable('tasks').set({ state: 'succeeded', exit_code: 0 }).where('id', '=', `${batch}.1`).execute()
    await host.restart()
    expect(await host.ended(batch)).toMatchObject({ state: 'succeeded', exitCode: 0 })
  })
})
