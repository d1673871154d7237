import { describe, expect, it } from 'vitest'
import { planPlacements } from '#server/scheduler/plan.ts'
import type { NodeState, WaitingTask } from '#server/scheduler/types.ts'
import { GB, gpus, input, node, numa, placed, waiting } from './support/scheduling.ts'

/** Placements as `task@node`, then nodes that are kept, as `task→node`. */
function decisions(tasks: WaitingTask[], nodes: NodeState[]): string[] {
  const { placements, kept } = planPlacements(input(tasks, nodes))
  return [...placements.map(({ taskId, node: host }) => `${taskId}@${host}`), ...kept.map(({ taskId, node: host, startsBy }) => `${taskId}→${host}${startsBy === null ? '' : ` by ${startsBy}`}`)]
}

const large = waiting('large', { cores: 8 })

describe('the node that is kept for a task that must wait', () => {
  it('is where it can start soonest, by the time limits of what runs', () => {
    const nodes = [
      node('n1', { placed: [placed('x', { endsBy: 5000 }), placed('y', { endsBy: 1000 })] }),
      node('n2', { placed: [placed('z', { cores: 7, endsBy: 4000 })] }),
      node('n3', { placed: [placed('w')] }),
    ]
    expect(decisions([large], nodes)).toEqual(['large→n2 by 4000'])
  })

  it('is the one where least is missing if nobody knows when it can start', () => {
    expect(decisions([large], [node('n1', { placed: [placed('x', { cores: 3 })] }), node('n2', { placed: [placed('y', { cores: 2 })] }), node('n3', { cores: 7 })])).toEqual(['large→n2'])
  })

  it('is none that can never run it, that is offline or drained', () => {
    const busy = { placed: [placed('x')] }
    expect(decisions([large], [node('n1', { ...busy, cores: 7 }), node('n2', { ...busy, online: false }), node('n3', { ...busy, drained: { reason: '' } })])).toEqual([])
  })

  it('is none of what the target does not name', () => {
    expect(decisions([waiting('large', { cores: 8, target: 'n2' }), waiting('small')], [node('n1', { placed: [placed('x')] }), node('n2', { placed: [placed('y', { cores: 7 })] })])).toEqual(['small@n1', 'large→n2'])
  })

  it('counts an end that is overdue as one that may come at any moment', () => {
    const { kept } = planPlacements(input([large], [node('n1', { placed: [placed('x', { endsBy: 1000 })] })], { now: 3000 }))
    expect(kept).toEqual([{ taskId: 'large', node: 'n1', startsBy: 3000 }])
  })

  it('is one for equal requests, and another only if it is the better one for others', () => {
    const nodes = [node('n1', { placed: [placed('x', { cores: 1 })] }), node('n2', { placed: [placed('y', { cores: 2 })] }), node('n3', { gpus: gpus(24), placed: [placed('z', { cores: 2, gpuIds: [0] })] })]
    const tasks = [large, waiting('equal', { cores: 8 }), waiting('smaller', { cores: 7, memoryBytes: 32 * GB }), waiting('gpu', { gpus: 1 })]
    expect(decisions(tasks, nodes)).toEqual(['large→n1', 'gpu→n3'])
  })

  it('is not lost to a target that many wait for', () => {
    const nodes = [node('n1', { placed: [placed('x', { cores: 1 })] }), node('n2', { placed: [placed('y', { cores: 2 })] })]
    expect(decisions([waiting('targeted', { cores: 8, target: 'n1' }), large], nodes)).toEqual(['targeted→n1', 'large→n2'])
  })
})

describe('others on a kept node', () => {
  const until = (endsBy: number | null, overrides: Partial<NodeState> = {}) => node('n1', { placed: [placed('x', { cores: 4, endsBy })], ...overrides })

  it('start if their time limit ends them before it is needed', () => {
    const nodes = [until(60_000)]
    expect(decisions([large, waiting('short', { cores: 4, timeLimitSeconds: 60 })], nodes)).toEqual(['short@n1', 'large→n1 by 60000'])
    expect(decisions([large, waiting('long', { cores: 4, timeLimitSeconds: 61 })], nodes)).toEqual(['large→n1 by 60000'])
    expect(decisions([large, waiting('endless', { cores: 4 })], nodes)).toEqual(['large→n1 by 60000'])
  })

  it('start if they fit beside it', () => {
    const nodes = [until(60_000)]
    const needs6 = waiting('large', { cores: 6 })
    expect(decisions([needs6, waiting('beside', { cores: 2 })], nodes)).toEqual(['beside@n1', 'large→n1 by 60000'])
    expect(decisions([needs6, waiting('beside', { cores: 2 }), waiting('too much', { cores: 1 })], nodes)).toEqual(['beside@n1', 'large→n1 by 60000'])
    expect(decisions([needs6, waiting('wide', { cores: 3 })], nodes)).toEqual(['large→n1 by 60000'])
  })

  it('do not start while nobody knows when it is needed, unless they leave alone what it lacks', () => {
    const nodes = [until(null, { memoryBytes: 32 * GB })]
    const needs6 = waiting('large', { cores: 6, memoryBytes: 16 * GB })
    expect(decisions([needs6, waiting('short', { timeLimitSeconds: 1 })], nodes)).toEqual(['large→n1'])
    expect(decisions([needs6, waiting('memory', { cores: 0, memoryBytes: 16 * GB })], nodes)).toEqual(['memory@n1', 'large→n1'])
    expect(decisions([needs6, waiting('memory', { cores: 0, memoryBytes: 17 * GB })], nodes)).toEqual(['large→n1'])
    expect(decisions([needs6, waiting('nothing', { cores: 0 })], nodes)).toEqual(['nothing@n1', 'large→n1'])
  })

  it('leave it the GPUs that it waits for', () => {
    const nodes = [node('n1', { gpus: gpus(24, 24, 80, 80), placed: [placed('x', { gpuIds: [0, 2] })] })]
    const three = waiting('large', { gpus: 3 })
    expect(decisions([three, waiting('small', { gpus: 1 })], nodes)).toEqual(['large→n1'])
    expect(decisions([three, waiting('none', { cores: 3 })], nodes)).toEqual(['none@n1', 'large→n1'])
    const named = planPlacements(input([waiting('large', { target: 'n1::0,1' }), waiting('small', { gpus: 1 })], nodes))
    expect(named.placements).toEqual([{ taskId: 'small', node: 'n1', gpuIds: [3], numaNode: null }])
  })

  it('leave it its NUMA node', () => {
    const nodes = [node('n1', { numaNodes: numa(8, 32 * GB), placed: [placed('x', { cores: 2, numaNode: 0 })] })]
    const bound = waiting('large', { target: 'n1:0', cores: 4 })
    expect(decisions([bound, waiting('same', { target: 'n1:0', cores: 1 })], nodes)).toEqual(['large→n1'])
    expect(decisions([bound, waiting('other', { target: 'n1:1', cores: 2 })], nodes)).toEqual(['other@n1', 'large→n1'])
    expect(decisions([bound, waiting('any', { cores: 2 })], nodes)).toEqual(['any@n1', 'large→n1'])
    expect(decisions([bound, waiting('any', { cores: 3 })], nodes)).toEqual(['large→n1'])
  })

  it('go on elsewhere', () => {
    expect(decisions([large, waiting('small')], [until(null), node('n2', { placed: [placed('y', { cores: 7 })] })])).toEqual(['small@n2', 'large→n1'])
  })

  it('are told so', () => {
    const { reasonFor } = planPlacements(input([large, waiting('small')], [until(null)]))
    expect(reasonFor('small')).toEqual({ code: 'kept_for_other', message: 'n1 is kept for the task large, which is ahead in the queue and would have to wait longer.' })
  })
})

it('a large task starts in a stream of small ones that never ends', () => {
  let nodes = [node('n1'), node('n2')]
  let count = 0
  const ended: string[] = []
  const round = (first: WaitingTask[]) => {
    const tasks = [...first, ...Array.from({ length: 20 }, () => waiting(`s${count++}`, { cores: 3 }))]
    const { placements } = planPlacements(input(tasks, nodes))
    nodes = nodes.map((state) => ({ ...state, placed: [...state.placed, ...placements.filter((placement) => placement.node === state.hostname).map(({ taskId }) => placed(taskId, { cores: tasks.find(({ id }) => id === taskId)?.cores ?? 0 }))] }))
    return placements.map(({ taskId }) => taskId)
  }
  const endOldest = () => {
    const [oldest] = nodes.flatMap((state) => state.placed).map(({ id }) => id).filter((id) => id.startsWith('s')).sort((left, right) => Number(left.slice(1)) - Number(right.slice(1)))
    ended.push(oldest ?? '')
    nodes = nodes.map((state) => ({ ...state, placed: state.placed.filter(({ id }) => id !== oldest) }))
  }
  round([])
  while (!round([large]).includes('large')) {
    expect(ended.length).toBeLessThan(6)
    endOldest()
  }
})
