import { describe, expect, it } from 'vitest'
import { couldEverFit, missingOn, nearestFit, refusal } from '#server/scheduler/fit.ts'
import type { NodeState } from '#server/scheduler/types.ts'
import { createClusterModel } from './support/cluster-model.ts'
import { GB, gpus, node, numa, waiting } from './support/scheduling.ts'

const small = node('small', { cores: 4, memoryBytes: 8 * GB })
const large = node('large', { cores: 16, memoryBytes: 64 * GB, numaNodes: numa(16, 64 * GB) })
const gpu = node('gpu', { gpus: gpus(24, 80) })

describe('what a node lacks', () => {
  it.each([
    [waiting('a', { cores: 5, memoryBytes: 9 * GB }), small, ['too_small: small has 4 of the 5 cores.', 'too_small: small has 8.00 GB of the 9.00 GB of memory.']],
    [waiting('a', { plain: true }), small, ['no_plain_processes: small takes no tasks without a container.']],
    [waiting('a', { target: 'large:2' }), large, ['no_such_numa_node: large has no NUMA node 2: it has 0, 1.']],
    [waiting('a', { target: 'small:0', cores: 9 }), small, ['no_such_numa_node: small has no NUMA node 0.']],
    [waiting('a', { target: 'large:1', cores: 9 }), large, ['too_small: NUMA node 1 of large has 8 of the 9 cores.']],
    [waiting('a', { gpus: 1 }), small, ['no_such_gpu: small has 0 of the 1 GPU.']],
    [waiting('a', { gpus: 2, gpuMemoryBytes: 40 * GB }), gpu, ['no_such_gpu: gpu has 1 of the 2 GPUs with 40.0 GB.']],
    [waiting('a', { target: 'gpu::0,9' }), gpu, ['no_such_gpu: gpu has no GPU 9: it has 0, 1.']],
    [waiting('a', { target: 'gpu::0', gpuMemoryBytes: 40 * GB }), gpu, ['no_such_gpu: gpu has no GPU 0 with 40.0 GB: it has 0, 1.']],
    [waiting('a', { target: 'gpu' }), small, ['other_target: It must run on gpu.']],
    [waiting('a', { cores: 16, memoryBytes: 64 * GB }), large, []],
    [waiting('a', { target: 'gpu::1,0', gpuMemoryBytes: 24 * GB }), gpu, []],
  ])('%j', (request, on, missing) => {
    expect(missingOn(request, on).map(({ code, message }) => `${code}: ${message}`)).toEqual(missing)
    expect(couldEverFit(request, on)).toBe(missing.length === 0)
  })

  it('is nothing exactly if it could ever fit', () => {
    const models = [1, 2, 3].map((seed) => createClusterModel(seed, { nodes: 8, longestMs: 1, limited: 0, priorities: 1 }))
    const differing = models.flatMap((model) => Array.from({ length: 200 }, () => model.submit().task).flatMap((request) => model.nodes.filter((on) => couldEverFit(request, on) !== (missingOn(request, on).length === 0))))
    expect(differing).toEqual([])
  })
})

describe('the nearest node', () => {
  const nearest = (request: ReturnType<typeof waiting>, nodes: NodeState[]) => nearestFit(request, nodes)?.hostname ?? null

  it('lacks fewest things, then least of them', () => {
    expect(nearest(waiting('a', { cores: 17 }), [small, gpu, large])).toBe('large')
    expect(nearest(waiting('a', { gpus: 1, cores: 9 }), [small, gpu, large])).toBe('gpu')
    expect(nearest(waiting('a', { gpus: 2, gpuMemoryBytes: 70 * GB, cores: 16 }), [small, gpu, large])).toBe('large')
    expect(nearest(waiting('a', { gpus: 3 }), [small, gpu, large])).toBe('gpu')
    expect(nearest(waiting('a', { cores: 9 }), [node('b'), node('a')])).toBe('a')
  })

  it('is that of the target', () => {
    expect(nearest(waiting('a', { target: 'small', cores: 5 }), [large, small])).toBe('small')
  })

  it('is none where one could run it, and where there is none', () => {
    expect(nearest(waiting('a', { cores: 16 }), [small, large])).toBeNull()
    expect(nearest(waiting('a'), [])).toBeNull()
  })
})

it('the refusal names the node and all that it lacks', () => {
  expect(refusal(waiting('a', { cores: 32, gpus: 1 }), [small, large])).toBe('No node could ever run this. The nearest is large: large has 16 of the 32 cores. large has 0 of the 1 GPU. Ask for less, or see what the nodes have with "hakuriver.client nodes".')
  expect(refusal(waiting('a', { target: 'small', cores: 5 }), [small, large])).toBe('small could never run this: small has 4 of the 5 cores. Ask for less, or see what the nodes have with "hakuriver.client nodes".')
  expect(refusal(waiting('a'), [small])).toBeNull()
})
