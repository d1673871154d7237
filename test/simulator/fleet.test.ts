import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runnerApi, type RunnerApi } from '#core/api/runner.ts'
import type { TaskOrder } from '#core/api/schemas.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { createId } from '#core/ids.ts'
import type { Behaviour } from '#simulator/fleet/behaviour.ts'
import type { FakeRunner } from '#simulator/fleet/fake-runner.ts'
import { createFakeFleet, type FakeFleet } from '#simulator/fleet/fleet.ts'
import { startStubHost, type StubHost } from '#test/runner/support/stub-host.ts'

const behaviour: Behaviour = { syncMs: 0, startMs: 0, durationMs: 0, exitCode: 0, outOfMemory: false }
let host: StubHost
let fleet: FakeFleet
let node: FakeRunner
let client: Client<RunnerApi>

beforeEach(async () => {
  host = await startStubHost()
  Object.assign(behaviour, { durationMs: 0, exitCode: 0 })
  fleet = await createFakeFleet({ hostUrl: `http://127.0.0.1:${host.port}`, runnerToken: () => host.token, nodes: 2, behave: () => ({ ...behaviour }), retryMs: 20 })
  node = fleet.node('sim1')
  const { hostToken = '' } = host.registrations.find(({ hostname }) => hostname === 'sim1') ?? {}
  client = createClient({ api: runnerApi, url: node.url, token: hostToken, unreachable: 'node.unreachable' })
})

afterEach(async () => {
  client.close()
  await fleet.close()
  await host.stop()
})

describe('a fake node', () => {
  it('registers, beats, and runs an order once however often it comes', async () => {
    expect(host.registrations.map(({ hostname }) => hostname).toSorted()).toEqual(['sim1', 'sim2'])
    const order = orderOf()
    await Promise.all([put(order), put(order), put(order)])
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'succeeded', exitCode: 0, instance: 1 })
    await host.until('the beat that leaves it out', () => host.heartbeats.at(-1)?.tasks.length === 0)
    expect(await put(order)).toMatchObject({ state: 'succeeded' })
    expect(fleet.ledger.counters).toMatchObject({ orders: 4, repeatedOrders: 3, starts: 1, duplicates: 0, ends: 1, acknowledged: 1 })
    expect(fleet.ledger.executions()).toEqual([{ id: order.id, instance: 1, node: 'sim1', starts: 1, state: 'succeeded', exitCode: 0 }])
  })

  it('has what the Host told another one to forget', async () => {
    behaviour.durationMs = Infinity
    const order = orderOf()
    await put(order)
    await expect(put({ ...order, id: 'not an id' })).rejects.toMatchObject({ code: 'request.invalid' })
    await host.untilState(order.id, 'running')
    host.knobs.unknown.add(order.id)
    await call('pauseTask', order)
    await host.until('the beat that leaves it out', () => host.heartbeats.at(-1)?.tasks.length === 0 && fleet.ledger.counters.disowned === 1)
    expect(fleet.ledger.find(order.id, 1)).toMatchObject({ state: 'lost' })
  })

  it('ends an execution for a later one, and refuses an earlier one', async () => {
    behaviour.durationMs = Infinity
    const order = orderOf()
    await put(order)
    await host.untilState(order.id, 'running')
    await put({ ...order, instance: 2 })
    await host.untilState(order.id, 'running', 2)
    await expect(put(order)).rejects.toMatchObject({ code: 'task.superseded' })
    await expect(call('killTask', order)).rejects.toMatchObject({ code: 'task.not_found' })
    await call('killTask', { ...order, instance: 2 })
    expect(await host.untilFinal(order.id, 2)).toMatchObject({ state: 'killed', reason: 'user' })
    expect(fleet.ledger.executions()).toMatchObject([{ instance: 1, state: 'lost' }, { instance: 2, state: 'killed' }])
    expect(fleet.ledger.counters).toMatchObject({ duplicates: 0, overlaps: 0, lateOrders: 1 })
  })

  it('pauses and goes on, and ends at its time limit', async () => {
    behaviour.durationMs = Infinity
    const order = { ...orderOf(), timeLimitSeconds: 0.3 }
    await put(order)
    await expect(call('resumeTask', order)).rejects.toMatchObject({ code: 'task.state' })
    await host.untilState(order.id, 'running')
    expect(await call('pauseTask', order)).toMatchObject({ state: 'paused' })
    expect(await call('resumeTask', order)).toMatchObject({ state: 'running' })
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'timed_out', reason: 'time_limit' })
  })

  it('keeps what it saw while the Host is away', async () => {
    behaviour.exitCode = 7
    const order = orderOf()
    await host.stop()
    await put(order)
    await host.restart()
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'failed', exitCode: 7 })
  })
})

describe('its knobs', () => {
  it('an answer that is lost was an order all the same', async () => {
    node.faults.dropAnswers = 1
    const order = orderOf()
    await expect(put(order)).rejects.toMatchObject({ code: 'node.unreachable' })
    await host.untilFinal(order.id)
    node.faults.dropAnswers = 0
    await put(order)
    // It is sent once more by itself, since a PUT may be.
    expect(fleet.ledger.counters).toMatchObject({ starts: 1, duplicates: 0 })
  })

  it('frozen, it says nothing, and goes on where it was', async () => {
    behaviour.durationMs = Infinity
    const order = orderOf()
    await put(order)
    await host.untilState(order.id, 'running')
    node.freeze()
    const beats = () => host.heartbeats.filter(({ instanceId }) => instanceId === node.instanceId).length
    const killed = call('killTask', order)
    const others = host.heartbeats.length + 4
    const before = beats()
    await host.until('beats of the other node', () => host.heartbeats.length >= others)
    // One may have been on its way.
    expect(beats() - before).toBeLessThanOrEqual(1)
    expect(fleet.ledger.find(order.id, 1)?.state).toBeNull()
    node.thaw()
    await killed
    expect(await host.untilFinal(order.id)).toMatchObject({ state: 'killed' })
  })

  it('started again, it adopts what runs, and tells of it anew', async () => {
    behaviour.durationMs = Infinity
    const order = orderOf()
    await put(order)
    const { sequence } = await host.untilState(order.id, 'running')
    const { url, instanceId } = node
    await node.stop()
    await expect(call('killTask', order)).rejects.toMatchObject({ code: 'node.unreachable' })
    await node.start()
    expect(node.url).toBe(url)
    expect(node.instanceId).not.toBe(instanceId)
    await host.until('a newer report', () => host.reports.some((report) => report.id === order.id && report.sequence > sequence + 900))
    await call('killTask', order)
    await host.untilFinal(order.id)
    expect(fleet.ledger.counters).toMatchObject({ starts: 1, duplicates: 0 })
  })

  it('made anew, it knows nothing', async () => {
    behaviour.durationMs = Infinity
    const order = orderOf()
    await put(order)
    await host.untilState(order.id, 'running')
    node.loseState()
    expect(node.executions()).toEqual([])
    await expect(call('killTask', order)).rejects.toMatchObject({ code: 'task.not_found' })
    await put(order)
    await host.until('its start', () => fleet.ledger.counters.starts === 2)
    expect(fleet.ledger.counters).toMatchObject({ duplicates: 1, overlaps: 0 })
  })
})

// --- internal ---

function orderOf(): TaskOrder {
  return {
    id: createId(), instance: 1, image: null, command: ['true'], env: {}, mounts: [], userMounts: [], allowedMounts: [], cores: 1, memoryBytes: null, numaNode: null, gpus: [], user: null, workdir: null, network: 'host', privileged: false,
    timeLimitSeconds: null, signal: 'SIGTERM', graceSeconds: 10, maxOutputBytes: null, pack: null,
  }
}

function put(order: TaskOrder) {
  return client.call('putTask', { params: { id: order.id }, body: order })
}

function call(id: 'killTask' | 'pauseTask' | 'resumeTask', { id: task, instance }: TaskOrder) {
  return client.call(id, { params: { id: task }, body: { instance } })
}
