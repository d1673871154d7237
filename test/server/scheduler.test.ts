import { describe, expect, it } from 'vitest'
import { type NodeCapacity, planPlacements, type WaitingTask } from '#server/scheduler/plan.ts'

function node(hostname: string, cores: number, overrides: Partial<NodeCapacity> = {}): NodeCapacity {
  return { hostname, online: true, cores, memoryBytes: 1e9, coresReserved: 0, memoryReservedBytes: 0, ...overrides }
}

function task(id: string, cores = 1, overrides: Partial<WaitingTask> = {}): WaitingTask {
  return { id, target: null, cores, memoryBytes: null, ...overrides }
}

describe('placement', () => {
  it('gives each node what fits, and spreads', () => {
    const plan = planPlacements([task('1', 2), task('2', 2), task('3', 2)], [node('a', 4), node('b', 3)])
    expect(plan.placements).toEqual([{ taskId: '1', node: 'a' }, { taskId: '2', node: 'b' }, { taskId: '3', node: 'a' }])
  })

  it('keeps the order: nobody overtakes on a node that an older task waits for', () => {
    const plan = planPlacements([task('big', 4), task('small', 1)], [node('a', 4, { coresReserved: 2 })])
    expect(plan.placements).toEqual([])
    expect(plan.waiting.map(({ taskId }) => taskId)).toEqual(['big', 'small'])
  })

  it('lets tasks for other nodes go on', () => {
    const plan = planPlacements([task('big', 4, { target: 'a' }), task('small', 1)], [node('a', 4, { coresReserved: 2 }), node('b', 1)])
    expect(plan.placements).toEqual([{ taskId: 'small', node: 'b' }])
  })

  it('does not hold a node that could never run the waiting task', () => {
    const plan = planPlacements([task('big', 8), task('small', 1)], [node('a', 8, { online: false }), node('b', 1)])
    expect(plan.placements).toEqual([{ taskId: 'small', node: 'b' }])
  })

  it('counts memory', () => {
    const plan = planPlacements([task('1', 1, { memoryBytes: 6e8 }), task('2', 1, { memoryBytes: 6e8 })], [node('a', 8)])
    expect(plan.placements).toEqual([{ taskId: '1', node: 'a' }])
  })

  it('says why', () => {
    const reason = (waiting: WaitingTask, nodes: NodeCapacity[]) => planPlacements([waiting], nodes).waiting[0]?.reason
    expect(reason(task('1'), [])).toBe('No node has registered yet.')
    expect(reason(task('1', 1, { target: 'a' }), [node('a', 1, { online: false })])).toBe('The node a is offline.')
    expect(reason(task('1', 2), [node('a', 2, { coresReserved: 1 })])).toBe('Waits for 2 free cores.')
  })

  it('never gives more than there is, whatever the order', () => {
    let seed = 7
    const random = (limit: number) => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % limit
    for (let round = 0; round < 300; round++) {
      const nodes = Array.from({ length: 1 + random(4) }, (_, index) => node(`n${index}`, 1 + random(8), { coresReserved: 0, memoryBytes: 100, online: random(5) > 0 }))
      const tasks = Array.from({ length: random(30) }, (_, index) => task(String(index), 1 + random(5), { memoryBytes: random(2) ? random(80) : null, target: random(3) ? null : `n${random(4)}` }))
      const { placements, waiting } = planPlacements(tasks, nodes)
      expect(placements.length + waiting.length).toBe(tasks.length)
      for (const { hostname, cores, memoryBytes, online } of nodes) {
        const here = placements.filter((placement) => placement.node === hostname).map(({ taskId }) => tasks[Number(taskId)])
        expect(here.reduce((sum, found) => sum + (found?.cores ?? 0), 0)).toBeLessThanOrEqual(online ? cores : 0)
        expect(here.reduce((sum, found) => sum + (found?.memoryBytes ?? 0), 0)).toBeLessThanOrEqual(memoryBytes)
      }
    }
  })
})
