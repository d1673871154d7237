import { describe, expect, it } from 'vitest'
import { parseTarget } from '#core/tasks/targets.ts'
import { createPlanner, planPlacements } from '#server/scheduler/plan.ts'
import type { NodeState, PlacedTask, PlanInput, WaitingTask } from '#server/scheduler/types.ts'
import { GB, gpus, input, node, numa, placed, waiting } from './support/scheduling.ts'

/** `task@node` for each, with the GPUs that it got. */
function places(tasks: WaitingTask[], nodes: NodeState[], overrides: Partial<PlanInput> = {}): string[] {
  return planPlacements(input(tasks, nodes, overrides)).placements.map(({ taskId, node: host, gpuIds }) => `${taskId}@${host}${gpuIds.length > 0 ? `::${gpuIds.join(',')}` : ''}`)
}

describe('which node', () => {
  it('takes one with room, in the order of the queue', () => {
    expect(places([waiting('a', { cores: 8 }), waiting('b', { cores: 8 }), waiting('c')], [node('n1'), node('n2')])).toEqual(['a@n1', 'b@n2'])
  })

  it('counts memory as cores, and paused tasks as running ones', () => {
    expect(places([waiting('a', { memoryBytes: 20 * GB })], [node('n1', { placed: [placed('x', { memoryBytes: 16 * GB })] }), node('n2')])).toEqual(['a@n2'])
  })

  it('fills the fullest node that has room, so that large tasks find an empty one', () => {
    expect(places([waiting('a', { cores: 2 })], [node('n1'), node('n2', { placed: [placed('x', { cores: 5 })] }), node('n3', { placed: [placed('y', { cores: 7 })] })])).toEqual(['a@n2'])
  })

  it('goes where fewest bytes are to be loaded, even if another is fuller', () => {
    const loadBytes = new Map([['v', new Map([['n1', 500], ['n2', 10]])]])
    const nodes = [node('n1', { placed: [placed('x', { cores: 5 })] }), node('n2'), node('n3', { placed: [placed('y', { cores: 6 })] })]
    expect(places([waiting('a', { version: 'v' })], nodes, { loadBytes })).toEqual(['a@n2'])
    expect(places([waiting('a', { version: 'v', target: 'n3' })], nodes, { loadBytes })).toEqual(['a@n3'])
    expect(places([waiting('a')], nodes, { loadBytes })).toEqual(['a@n3'])
  })

  it('takes the first by name of those that are alike', () => {
    expect(places([waiting('a')], [node('n2'), node('n10'), node('n1')])).toEqual(['a@n1'])
  })

  it('gives nothing to nodes that are offline or drained', () => {
    expect(places([waiting('a')], [node('n1', { online: false }), node('n2', { drained: { reason: '' } }), node('n3')])).toEqual(['a@n3'])
  })

  it('gives tasks without a container only to nodes that take them', () => {
    expect(places([waiting('a', { plain: true }), waiting('b', { plain: true, target: 'n1' })], [node('n1'), node('n2', { plainProcesses: true })])).toEqual(['a@n2'])
  })

  it('places so many items of a batch as may start, and as there is room for', () => {
    expect(places([waiting('a', { count: 3, cores: 4 })], [node('n1'), node('n2')])).toEqual(['a@n1', 'a@n1', 'a@n2'])
    expect(places([waiting('a', { count: 9, cores: 4 })], [node('n1')])).toEqual(['a@n1', 'a@n1'])
    expect(places([waiting('a', { count: 0 })], [node('n1')])).toEqual([])
  })

  it('passes over what may not start yet, and keeps nothing for it', () => {
    const held = waiting('a', { cores: 8, blocked: [{ code: 'hold', message: 'It is held.' }] })
    expect(places([held, waiting('b', { cores: 8 })], [node('n1')])).toEqual(['b@n1'])
  })
})

describe('a task that reserves nothing', () => {
  const light = (id: string) => waiting(id, { cores: 0 })

  it('starts on a full node', () => {
    expect(places([light('a')], [node('n1', { placed: [placed('x', { cores: 8 })] })])).toEqual(['a@n1'])
  })

  it('starts even where less is there than was promised', () => {
    expect(places([light('a')], [node('n1', { cores: 1, placed: [placed('x', { cores: 8 })] })])).toEqual(['a@n1'])
  })

  it('goes where fewest tasks are', () => {
    expect(places([light('a'), light('b'), light('c')], [node('n1'), node('n2')])).toEqual(['a@n1', 'b@n2', 'c@n1'])
  })

  it('goes elsewhere than to the node with its environment once that has as many tasks as cores', () => {
    const loadBytes = new Map([['v', new Map([['n1', 0]])]])
    expect(places(['a', 'b', 'c'].map((id) => waiting(id, { cores: 0, version: 'v' })), [node('n1', { cores: 2 }), node('n2', { cores: 2 })], { loadBytes })).toEqual(['a@n1', 'b@n1', 'c@n2'])
  })
})

describe('how many tasks a node has at most', () => {
  const many = (count: number, overrides: Partial<PlacedTask> = {}) => Array.from({ length: count }, (_, index) => placed(`x${index}`, { cores: 0, ...overrides }))

  it('is told by its cores, for tasks that reserve neither cores nor GPUs', () => {
    expect(places([waiting('a', { cores: 0, count: 500 })], [node('n1', { cores: 1 }), node('n2', { cores: 8 })]).map((place) => place.split('@')[1]).filter((name) => name === 'n1')).toHaveLength(64)
    expect(places([waiting('a', { cores: 0, memoryBytes: 1, count: 500 })], [node('n1')])).toHaveLength(128)
    const crowded = node('n1', { placed: many(128), gpus: gpus(24) })
    expect(places([waiting('a', { cores: 0 }), waiting('b', { target: 'n1', cores: 0 }), waiting('c', { cores: 0, gpus: 1 }), waiting('d')], [crowded])).toEqual(['c@n1::0', 'd@n1'])
  })

  it('is told to those that wait for it', () => {
    const plan = (target?: string) => planPlacements(input([waiting('a', { cores: 0, ...(target !== undefined && { target }) })], [node('n1', { placed: many(128) }), node('n2', { online: false })]))
    expect(plan('n1').reasonFor('a')).toEqual({ code: 'no_room', message: 'n1 runs 128 tasks, the most that it takes before one reserves cores or GPUs.' })
    expect(plan().reasonFor('a')).toEqual({ code: 'no_room', message: 'Waits for a node with fewer tasks: those that could run it have the most that they take before one reserves cores or GPUs. (1 is offline.)' })
  })

  it('frees a place with each that ends, for the first that waits', () => {
    const planner = createPlanner()
    const tasks = [waiting('a', { cores: 0, timeLimitSeconds: 9 }), waiting('b', { cores: 0 })]
    const full = node('n1', { placed: many(128) })
    expect(planner.plan(input(tasks, [full])).placements).toEqual([])
    expect(planner.plan(input(tasks, [{ ...full, placed: many(127) }])).placements.map(({ taskId }) => taskId)).toEqual(['a'])
  })
})

describe('a plan that is cut', () => {
  it('has so many placements, and the next goes on with the rest, without those that had no room', () => {
    const planner = createPlanner()
    const large = node('n1', { cores: 4096 })
    const nodes = [large, node('n2', { cores: 1, placed: [placed('x')] })]
    const [first, second, third] = [waiting('a', { count: 25 }), waiting('b', { target: 'n2' }), waiting('c')]
    expect(planner.plan(input([second], nodes))).toMatchObject({ placements: [], isCut: false })
    // What has become free is not forgotten over the cut.
    nodes[1] = node('n2', { cores: 1 })
    const cut = planner.plan(input([{ ...first, target: parseTarget('n1') }, second, third], nodes, { mostPlacements: 20 }))
    expect(cut).toMatchObject({ isCut: true, placements: { length: 20 } })
    expect(new Set(cut.placements.map(({ taskId }) => taskId))).toEqual(new Set(['a']))
    nodes[0] = { ...large, placed: cut.placements.map((_, index) => placed(`a.${index}`)) }
    const rest = [{ ...first, target: parseTarget('n1'), count: 5 }, second, third]
    const next = planner.plan(input(rest, nodes, { mostPlacements: 20 }))
    expect(next.isCut).toBe(false)
    expect(next.placements.map(({ taskId, node: host }) => `${taskId}@${host}`)).toEqual([...Array.from({ length: 5 }, () => 'a@n1'), 'b@n2', 'c@n1'])
    expect(next.placements).toEqual(planPlacements(input(rest, nodes)).placements)
  })
})

describe('GPUs', () => {
  it('are given by number, each once', () => {
    expect(places(['a', 'b', 'c'].map((id) => waiting(id, { gpus: 1 })), [node('n1', { gpus: gpus(24, 24) })])).toEqual(['a@n1::0', 'b@n1::1'])
  })

  it('are given by id, in the order that was asked for', () => {
    expect(places([waiting('a', { target: 'n1::2,0' }), waiting('b', { target: 'n1::0' }), waiting('c', { target: 'n1::1' })], [node('n1', { gpus: gpus(24, 24, 24, 24) })])).toEqual(['a@n1::2,0', 'c@n1::1'])
  })

  it('have the memory that was asked for', () => {
    expect(places([waiting('a', { gpus: 1, gpuMemoryBytes: 40 * GB }), waiting('b', { target: 'n1::0', gpuMemoryBytes: 40 * GB })], [node('n1', { gpus: gpus(24, 80) })])).toEqual(['a@n1::1'])
  })

  it('are the smallest that do', () => {
    expect(places([waiting('a', { gpus: 1 }), waiting('b', { gpus: 1, gpuMemoryBytes: 20 * GB })], [node('n1', { gpus: gpus(80, 24) }), node('n2', { gpus: gpus(16) })])).toEqual(['a@n2::0', 'b@n1::1'])
  })

  it('are left to those that want them', () => {
    expect(places([waiting('a'), waiting('b', { cores: 8 })], [node('n1', { gpus: gpus(80, 80) }), node('n2', { gpus: gpus(24) }), node('n3')])).toEqual(['a@n3', 'b@n2'])
  })

  it('lie on one NUMA node where possible, where fewest others are left', () => {
    const having = node('n1', { gpus: gpus(24, 24, 24, 24) })
    expect(places([waiting('a', { gpus: 2 })], [{ ...having, placed: [placed('x', { gpuIds: [0] })] }])).toEqual(['a@n1::2,3'])
    expect(places([waiting('a', { gpus: 1 })], [{ ...having, placed: [placed('x', { gpuIds: [3] })] }])).toEqual(['a@n1::2'])
    expect(places([waiting('a', { gpus: 3 })], [having])).toEqual(['a@n1::0,1,2'])
  })

  it('lie on the NUMA node of the target where possible', () => {
    const having = node('n1', { numaNodes: numa(8, 32 * GB), gpus: gpus(24, 24, 24, 24) })
    expect(places([waiting('a', { gpus: 1, target: 'n1:1' })], [having])).toEqual(['a@n1::2'])
    expect(places([waiting('a', { gpus: 3, target: 'n1:1' })], [having])).toEqual(['a@n1::0,1,2'])
  })
})

describe('NUMA nodes', () => {
  const having = (overrides: Partial<NodeState> = {}) => node('n1', { numaNodes: numa(8, 32 * GB), ...overrides })

  it('are told with the place', () => {
    expect(planPlacements(input([waiting('a', { target: 'n1:1' })], [having()])).placements).toEqual([{ taskId: 'a', node: 'n1', gpuIds: [], numaNode: 1 }])
  })

  it('give no more than they have', () => {
    const tasks = [waiting('a', { target: 'n1:0', cores: 3 }), waiting('b', { target: 'n1:0', cores: 2 }), waiting('c', { target: 'n1:1', cores: 3 })]
    expect(places(tasks, [having()])).toEqual(['a@n1', 'c@n1'])
    expect(places([waiting('a', { target: 'n1:0', memoryBytes: 10 * GB }), waiting('b', { target: 'n1:0', memoryBytes: 10 * GB })], [having()])).toEqual(['a@n1'])
  })

  it('leave to tasks without such a wish what is not bound, and are left what those leave', () => {
    expect(places([waiting('a', { cores: 5 })], [having({ placed: [placed('x', { cores: 4, numaNode: 0 })] })])).toEqual([])
    expect(places([waiting('a', { cores: 4 })], [having({ placed: [placed('x', { cores: 4, numaNode: 0 })] })])).toEqual(['a@n1'])
    expect(places([waiting('a', { target: 'n1:1', cores: 3 })], [having({ placed: [placed('x', { cores: 6 })] })])).toEqual([])
    expect(places([waiting('a', { target: 'n1:1', cores: 2 })], [having({ placed: [placed('x', { cores: 6 })] })])).toEqual(['a@n1'])
  })
})

describe('why a task waits', () => {
  const reason = (task: WaitingTask, nodes: NodeState[]) => planPlacements(input([task], nodes)).reasonFor(task.id)
  const full = (hostname: string) => node(hostname, { placed: [placed('x', { cores: 7 })] })

  it.each([
    ['no node', waiting('a'), [], { code: 'no_node', message: 'No node has registered yet.' }],
    ['its node is gone', waiting('a', { target: 'n9' }), [node('n1')], { code: 'no_node', message: 'The node n9 is not known.' }],
    ['its node is offline', waiting('a', { target: 'n1' }), [node('n1', { online: false })], { code: 'offline', message: 'n1 is offline.' }],
    ['its node is drained', waiting('a', { target: 'n1' }), [node('n1', { drained: { reason: '' } })], { code: 'drained', message: 'n1 is drained: it gets no more tasks.' }],
    ['its node is drained for a reason', waiting('a', { target: 'n1' }), [node('n1', { drained: { reason: 'new disk' } })], { code: 'drained', message: 'n1 is drained (new disk): it gets no more tasks.' }],
    ['all are away', waiting('a'), [node('n1', { drained: { reason: '' } }), node('n2', { online: false }), node('n3', { online: false })], { code: 'offline', message: 'Of the nodes that could run it, 2 are offline and 1 is drained.' }],
    ['it is held', waiting('a', { blocked: [{ code: 'hold', message: 'It is held.' }] }), [node('n1')], { code: 'hold', message: 'It is held.' }],
    ['its node is full', waiting('a', { target: 'n1', cores: 2 }), [full('n1')], { code: 'no_room', message: 'n1 has 1 of 2 cores free. Its room is taken by x.' }],
    ['all are full', waiting('a', { cores: 2, memoryBytes: GB, gpus: 1 }), [node('n1', { gpus: gpus(24), placed: [placed('x', { gpuIds: [0] })] })], { code: 'no_room', message: 'Waits for 2 cores, 1.00 GB of memory and 1 GPU.' }],
    ['one is full, one offline', waiting('a', { cores: 2 }), [full('n1'), node('n2', { online: false })], { code: 'no_room', message: 'Waits for 2 cores. (1 is offline.)' }],
    ['none is large enough any more', waiting('a', { cores: 9 }), [node('n1')], { code: 'too_small', message: 'No node could run it. n1 has 8 of the 9 cores.' }],
  ])('%s', (_, task, nodes, expected) => {
    expect(reason(task, nodes)).toEqual(expected)
  })

  it('tells nothing of what was placed, and of what it does not know', () => {
    const plan = planPlacements(input([waiting('a')], [node('n1')]))
    expect([plan.reasonFor('a'), plan.reasonFor('b')]).toEqual([null, null])
  })

  it('tells it of each node', () => {
    const nodes = [
      full('n1'), node('n2', { online: false }), node('n3', { drained: { reason: '' } }), node('n4', { gpus: gpus(24, 24), numaNodes: numa(8, 32 * GB), placed: ['u', 'v', 'w', 'x', 'y'].map((id) => placed(id, { gpuIds: id === 'u' ? [0] : [] })) }),
    ]
    const verdicts = (task: WaitingTask) => planPlacements(input([task], nodes)).nodesFor(task.id).map(({ hostname, reason: why }) => `${hostname} ${why?.code}: ${why?.message}`)
    expect(verdicts(waiting('a', { gpus: 2 }))).toEqual([
      'n1 no_such_gpu: n1 has 0 of the 2 GPUs.',
      'n2 no_such_gpu: n2 has 0 of the 2 GPUs.',
      'n3 no_such_gpu: n3 has 0 of the 2 GPUs.',
      'n4 no_room: n4 has 1 of 2 GPUs free. Its room is taken by u, v, w and 2 more tasks.',
    ])
    expect(verdicts(waiting('a', { target: 'n4:1', cores: 4 }))).toEqual([
      'n1 other_target: It must run on n4.',
      'n2 other_target: It must run on n4.',
      'n3 other_target: It must run on n4.',
      'n4 no_room: NUMA node 1 of n4 has 3 of 4 cores free. Its room is taken by u, v, w and 2 more tasks.',
    ])
    expect(verdicts(waiting('a', { cores: 2, plain: true })).at(0)).toBe('n1 no_plain_processes: n1 takes no tasks without a container.')
  })
})
