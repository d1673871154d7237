import { describe, expect, it } from 'vitest'
import type { NodeHardware, SubmitInput, Task, TaskReport } from '#core/api/schemas.ts'
import { isHakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { TaskRecord } from '#server/queue/task-record.ts'
import type { PlacedTask } from '#server/scheduler/types.ts'
import { createRandom } from '#simulator/random.ts'
import { createQueueHost, type QueueHost } from './support/queue-host.ts'
import { gpus, numa } from './support/scheduling.ts'

const STEPS = 600
const hardware: Record<'a' | 'b' | 'c', Partial<NodeHardware>> = {
  a: { cores: 8, memoryBytes: 8e9, gpus: gpus(8, 8, 24, 24), numaNodes: [...numa(8, 8e9)] },
  b: { cores: 4, memoryBytes: 2e9 },
  c: { cores: 2, memoryBytes: 1e9, plainProcesses: true, gpus: gpus(24) },
}
const names = ['a', 'b', 'c'] as const

/** Counts how often tasks came to an end and left it again. */
function watchEnds(host: QueueHost, ends: Map<string, number>): void {
  host.store.changes.on('change', (after: TaskRecord, before: TaskRecord) => {
    const change = Number(isFinal(after.state)) - Number(isFinal(before.state))
    if (change !== 0) ends.set(after.id, (ends.get(after.id) ?? 0) + change)
  })
}

function randomBody(random: (limit: number) => number, ids: readonly string[]): Partial<SubmitInput> {
  const isPlain = random(12) === 0
  const name = names[random(3)] ?? 'a'
  const target = random(4) === 0 ? `${name}${name === 'a' && random(2) === 0 ? `:${random(2)}` : ''}${name === 'a' && random(3) === 0 ? '::0,2' : ''}` : undefined
  const items = random(4) === 0 ? ({ kind: 'array', indexes: `1-${1 + random(12)}` } as const) : null
  const dependency = ids[random(ids.length + 1)]
  return {
    environment: isPlain ? null : 'my-env',
    cores: random(4),
    memoryBytes: random(3) === 0 ? 1e8 * (1 + random(9)) : null,
    gpus: target === undefined && random(6) === 0 ? 1 : 0,
    targets: isPlain || target === undefined ? [] : [target],
    items,
    parallel: items && random(2) === 0 ? 1 + random(3) : null,
    priority: random(3) - 1,
    retries: random(3),
    hold: random(10) === 0,
    timeLimitSeconds: random(3) === 0 ? 60 : null,
    after: dependency !== undefined && random(5) === 0 ? [{ on: (['ok', 'any', 'fail'] as const)[random(3)] ?? 'any', task: dependency }] : [],
  }
}

/** Neither by what the Host believes nor by what the nodes really run. */
function assertNothingTwice(host: QueueHost): void {
  const running = host.node.running()
  for (const name of names) {
    const placed = host.store.live.reservations.on(name)
    assertFits(name, placed)
    assertFits(name, running.filter(({ node }) => node === name).map(({ order }) => ({ ...order, gpuIds: order.gpus.map(({ id }) => id) })))
  }
}

function assertFits(name: (typeof names)[number], placed: readonly Pick<PlacedTask, 'cores' | 'memoryBytes' | 'gpuIds' | 'numaNode'>[]): void {
  const { cores = 0, memoryBytes = 0, numaNodes = [] } = hardware[name]
  expect(placed.reduce((sum, task) => sum + task.cores, 0)).toBeLessThanOrEqual(cores)
  expect(placed.reduce((sum, task) => sum + (task.memoryBytes ?? 0), 0)).toBeLessThanOrEqual(memoryBytes)
  const given = placed.flatMap(({ gpuIds }) => gpuIds)
  expect(new Set(given).size).toBe(given.length)
  for (const { id, cores: share } of numaNodes) expect(placed.filter(({ numaNode }) => numaNode === id).reduce((sum, task) => sum + task.cores, 0)).toBeLessThanOrEqual(share)
}

/** What was refused is no failure of the queue; anything else is. */
async function attempt(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isHakuError(error)) throw error
  })
}

const endings: TaskReport['state'][] = ['succeeded', 'succeeded', 'failed', 'out_of_memory', 'timed_out', 'killed']

async function progress(host: QueueHost, random: (limit: number) => number): Promise<void> {
  const running = host.node.running().filter(({ node }) => !host.node.unreachable.has(node))
  const one = running[random(running.length || 1)]
  if (!one) return
  const task = await host.store.find(one.id)
  const isKilled = task?.wish === 'kill'
  const state = isKilled ? 'killed' : random(3) === 0 ? 'running' : (endings[random(endings.length)] ?? 'failed')
  const report = host.node.reportOf(one.node, one, { state, exitCode: state === 'succeeded' ? 0 : state === 'failed' ? 1 + random(5) : null, stdoutBytes: 0, stderrBytes: 0 })
  const { acknowledged, unknown } = await host.tasks.report(one.node, one.node, [report])
  host.node.forget(one.node, unknown)
  if (isFinal(state)) host.node.forget(one.node, acknowledged)
}

async function step(host: QueueHost, random: (limit: number) => number, ids: string[]): Promise<void> {
  const id = ids[random(ids.length || 1)] ?? ''
  const any = random(3) === 0 && id !== '' ? `${id}.${1 + random(6)}` : id
  const name = names[random(3)] ?? 'a'
  const choice = random(100)
  if (choice < 25) await attempt(host.submit(randomBody(random, ids)).then((made) => ids.push(...made.map((task: Task) => task.id))))
  else if (choice < 65) await progress(host, random)
  else if (choice < 70) await attempt(host.tasks.kill(any))
  else if (choice < 73) await attempt(host.tasks.hold(any))
  else if (choice < 77) await attempt(host.tasks.release(any))
  else if (choice < 80) await attempt(host.tasks.move(any, random(2) ? { to: random(2) ? 'first' : 'last' } : { priority: random(3) - 1 }))
  else if (choice < 82) await attempt(host.tasks.move(any, { target: random(2) ? null : name }))
  else if (choice < 85) await attempt(host.tasks.retry(any))
  else if (choice < 87) await attempt(random(2) ? host.tasks.pause(any) : host.tasks.resume(any))
  else if (choice < 90) {
    // Its beats may be what does not arrive.
    if (random(3) > 0) host.node.unreachable.add(name)
    host.silence(name)
  } else if (choice < 94) {
    host.node.unreachable.delete(name)
    await host.beat(name)
  } else if (choice < 95) host.node.forget(name, host.node.known(name).slice(0, 1))
  else if (choice < 97) await (random(2) ? host.nodes.drain(name, '') : host.nodes.undrain(name))
  else if (choice < 98) {
    if (random(2)) host.node.loseAnswers = !host.node.loseAnswers
    else await attempt(host.nodes.remove(name).then(() => host.register(name, hardware[name])))
  }
  else for (const task of host.store.live.waiting()) await host.store.update(task.id, () => ({ notBefore: null }), 'test')
}

/** Everything is let go, and goes on until nothing is left. */
async function drainAll(host: QueueHost): Promise<void> {
  host.node.loseAnswers = false
  host.node.unreachable.clear()
  for (const name of names) await host.nodes.undrain(name)
  for (let round = 0; [...host.store.live.values()].length > 0 && round < 5000; round++) {
    for (const name of names) await host.beat(name)
    for (const task of Array.from(host.store.live.values())) {
      if (task.wish === 'hold') await attempt(host.tasks.release(task.id))
      else if (task.notBefore !== null) await host.store.update(task.id, () => ({ notBefore: null }), 'test')
    }
    for (const { id, instance, node } of host.node.running()) {
      // A later instance on the same node may have ended it meanwhile.
      if (!host.node.known(node).some((known) => known.id === id && known.instance === instance)) continue
      const { acknowledged, unknown } = await host.tasks.report(node, node, [host.node.reportOf(node, { id, instance }, { state: 'succeeded', exitCode: 0, stdoutBytes: 0, stderrBytes: 0 })])
      host.node.forget(node, [...acknowledged, ...unknown])
    }
    await host.settled()
    assertNothingTwice(host)
  }
}

describe('the queue, in any order of events', () => {
  it.each([1, 2, 3, 4, 5, 6])('gives nothing twice, ends each task once, and holds nothing in the end (seed %i)', async (seed) => {
    const random = createRandom(seed * 7919).below
    const host = await createQueueHost()
    const ends = new Map<string, number>()
    const ids: string[] = []
    try {
      watchEnds(host, ends)
      for (const name of names) await host.register(name, hardware[name])
      for (let count = 0; count < STEPS; count++) {
        await step(host, random, ids)
        if (random(3) === 0) await host.settled()
        assertNothingTwice(host)
        if (count % 200 !== 199) continue
        await host.restart()
        watchEnds(host, ends)
        for (const name of names) await host.register(name, hardware[name])
      }
      await drainAll(host)
      expect([...host.store.live.values()].map(({ id, state, message }) => ({ id, state, message }))).toEqual([])
      for (const name of names) expect(host.tasks.toNode(host.nodes.get(name))).toMatchObject({ coresReserved: 0, memoryReservedBytes: 0, gpusReserved: [], tasks: 0 })
      for (const name of names) for (let beats = 0; beats < 3; beats++) await host.beat(name).then(host.settled)
      // What a node still runs was taken from it: nobody believes it.
      for (const { id, instance, node } of host.node.running()) expect(await host.tasks.report(node, node, [host.node.reportOf(node, { id, instance }, { state: 'running' })])).toEqual({ acknowledged: [], unknown: [{ id, instance }] })
      for (const id of ids) {
        const task = await host.tasks.get(id)
        expect(isFinal(task.state), `${id} is ${task.state}`).toBe(true)
        expect(Object.values(task.items?.counts ?? { none: 0 }).reduce((sum, count) => sum + count, 0)).toBe(task.items?.size ?? 0)
      }
      expect([...ends].filter(([, count]) => count !== 1)).toEqual([])
      const stored = await host.database.selectFrom('tasks').select(['id', 'state', 'node']).execute()
      expect(stored.filter(({ state }) => !isFinal(state))).toEqual([])
    } finally {
      await host.dispose()
    }
  })
})
