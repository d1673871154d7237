import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { createPlanner, planPlacements } from '#server/scheduler/plan.ts'
import type { Plan, PlanInput } from '#server/scheduler/types.ts'
import { type ClusterModel, createClusterModel, type ModelTask, oversubscribed } from './support/cluster-model.ts'
import { input, node, waiting } from './support/scheduling.ts'

const LONGEST_MS = 1000
const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1)

/** What came of one pass. */
interface Step {
  given: PlanInput
  decided: Plan
  started: ModelTask[]
}

/** Random submissions and ends, until `steps` are over and nothing waits or runs any more. */
function run(model: ClusterModel, steps: number, look: (step: Step) => void): void {
  for (let step = 0; ; step++) {
    if (step < steps) for (let left = model.random(4); left > 0; left--) model.submit()
    const given = model.input()
    const decided = planPlacements(given)
    look({ given, decided, started: model.apply(decided) })
    if (!model.endNext() && step >= steps) return
  }
}

describe('placement in random streams', () => {
  it.each(SEEDS)('never promises more than there is, and each task starts once (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 1 + (seed % 5), longestMs: LONGEST_MS, limited: 1 + (seed % 3), priorities: 3 })
    const all: ModelTask[] = []
    run(model, 150, ({ started }) => {
      all.push(...started)
      expect(oversubscribed(model.nodes)).toEqual([])
    })
    expect(model.waiting().map(({ task }) => task.id)).toEqual([])
    expect(new Set(all.map(({ task }) => task.id)).size).toBe(all.length)
  })

  it.each(SEEDS)('leaves no room unused that a waiting task could have, but for what is kept (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 4, longestMs: LONGEST_MS, limited: seed % 3, priorities: 2 })
    run(model, 60, ({ decided }) => {
      const startable = model.waiting().filter(({ task }) => decided.nodesFor(task.id).some(({ reason }) => reason === null))
      expect(startable).toEqual([])
    })
  })

  it.each(SEEDS)('starts each within a time that those behind it can not stretch (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 1 + (seed % 4), longestMs: LONGEST_MS, limited: seed % 3, priorities: 1 })
    const late: ModelTask[] = []
    run(model, 250, ({ started }) => {
      late.push(...started.filter((task) => model.now - task.submitted > task.ahead * 2 * LONGEST_MS))
    })
    expect(late).toEqual([])
  })

  it.each(SEEDS)('starts equal requests in the order of the queue (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 3, longestMs: LONGEST_MS, limited: 0, priorities: 2 })
    const overtaken: string[] = []
    const request = ({ task, priority }: ModelTask) => JSON.stringify({ ...task, id: '', version: '', count: 0, priority })
    run(model, 150, ({ started }) => {
      const before = model.waiting()
      overtaken.push(...started.flatMap((task) => before.filter((other) => other.rank < task.rank && request(other) === request(task)).map(({ task: { id } }) => id)))
    })
    expect(overtaken).toEqual([])
  })

  it.each(SEEDS)('decides about a task as if nobody stood behind it (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 4, longestMs: LONGEST_MS, limited: 2, priorities: 4 })
    run(model, 100, ({ given, decided }) => {
      const ahead = given.waiting.slice(0, model.random(given.waiting.length + 1))
      const isAhead = ({ taskId }: { taskId: string }) => ahead.some(({ id }) => id === taskId)
      const alone = planPlacements({ ...given, waiting: ahead })
      expect(alone.placements).toEqual(decided.placements.filter(isAhead))
      expect(alone.kept).toEqual(decided.kept.filter(isAhead))
    })
  })

  it.each(SEEDS)('keeps what it promises to the first in the queue, whatever comes behind (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 1 + (seed % 4), longestMs: LONGEST_MS, limited: 1, priorities: 1 })
    const promises = new Map<string, number>()
    const putOff: string[] = []
    run(model, 250, ({ decided: { kept } }) => {
      const first = model.waiting()[0]?.task
      const promised = kept.find(({ taskId }) => taskId === first?.id)?.startsBy ?? Infinity
      const item = `${first?.id}.${first?.count}`
      // A promise that time has overtaken is put off too.
      if (promised > (promises.get(item) ?? Infinity)) putOff.push(item)
      if (promised < Infinity) promises.set(item, promised)
    })
    expect(putOff).toEqual([])
    expect(promises.size).toBeGreaterThan(0)
  })

  it.each(SEEDS)('decides the same in whatever order the nodes are given (%i)', (seed) => {
    const model = createClusterModel(seed, { nodes: 6, longestMs: LONGEST_MS, limited: 2, priorities: 2 })
    run(model, 100, ({ given, decided }) => {
      const again = planPlacements({ ...given, nodes: given.nodes.toReversed() })
      expect(again.placements).toEqual(decided.placements)
      expect(again.kept).toEqual(decided.kept)
    })
  })
})

describe('a planner that remembers', () => {
  /** All that may happen to a queue and to nodes between two passes. */
  function disturb(model: ClusterModel): void {
    const queue = model.waiting()
    const someone = queue[model.random(Math.max(1, queue.length))]?.task
    const host = model.random(model.nodes.length)
    const changes: (() => void)[] = [
      () => someone && model.replace(someone.id, { blocked: someone.blocked.length > 0 ? [] : [{ code: 'hold', message: 'It is held.' }] }),
      () => someone && model.replace(someone.id, {}, model.random(3)),
      () => someone && model.withdraw(someone.id),
      () => (model.nodes = model.nodes.map((each, index) => (index === host ? { ...each, online: !each.online } : each))),
      () => (model.nodes = model.nodes.map((each, index) => (index === host ? { ...each, drained: each.drained ? null : { reason: '' } } : each))),
      () => (model.now -= 50),
    ]
    changes[model.random(changes.length * 3)]?.()
  }

  /** What both answered, as far as they differ. */
  function differences(model: ClusterModel, steps: number): unknown[] {
    const planner = createPlanner()
    const found: unknown[] = []
    for (let step = 0; step < steps; step++) {
      for (let left = model.random(4); left > 0; left--) model.submit()
      disturb(model)
      const given = model.input()
      const [kept, fresh] = [planner.plan(given), planPlacements(given)]
      const some = given.waiting.slice(0, 20).map(({ id }) => id)
      const answers = (plan: Plan) => ({ placements: plan.placements, kept: plan.kept, told: some.map((id) => [plan.reasonFor(id), plan.nodesFor(id)]) })
      const [ours, theirs] = [answers(kept), answers(fresh)]
      if (!isDeepStrictEqual(ours, theirs)) found.push({ step, ours, theirs })
      // Now and then the Host can not do as it was told, and asks again.
      if (model.random(6) > 0) model.apply(fresh)
      for (let left = model.random(4); left > 0; left--) model.endNext()
    }
    return found
  }

  it.each(SEEDS)('decides and explains exactly as one that does not (%i)', (seed) => {
    expect(differences(createClusterModel(seed, { nodes: 2 + (seed % 8), longestMs: LONGEST_MS, limited: seed % 3, priorities: 3 }), 150)).toEqual([])
  })

  it('does so after thousands have come and gone', () => {
    expect(differences(createClusterModel(99, { nodes: 6, longestMs: LONGEST_MS, limited: 2, priorities: 2 }), 1500)).toEqual([])
  })

  it('stands it if very many go at once', () => {
    const planner = createPlanner()
    const [queue, nodes] = [Array.from({ length: 200_000 }, (_, index) => waiting(`t${index}`)), [node('n1', { drained: { reason: '' } })]]
    planner.plan(input(queue, nodes))
    expect(planner.plan(input([], nodes)).placements).toEqual([])
    expect(planner.plan(input(queue, [node('n1')])).placements).toHaveLength(8)
  })
})
