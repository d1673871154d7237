import type { Gpu } from '#core/api/schemas.ts'
import { parseTarget } from '#core/tasks/targets.ts'
import type { NodeState, PlacedTask, PlanInput, WaitingTask } from '#server/scheduler/types.ts'

export const GB = 1e9

export function node(hostname: string, overrides: Partial<NodeState> = {}): NodeState {
  return { hostname, online: true, drained: null, cores: 8, memoryBytes: 32 * GB, numaNodes: [], gpus: [], plainProcesses: false, placed: [], ...overrides }
}

/** GPUs of such sizes in GB; the first half on NUMA node 0, the rest on 1. */
export function gpus(...sizes: number[]): Gpu[] {
  return sizes.map((size, id) => ({ id, uuid: `GPU-${id}`, name: 'a GPU', memoryBytes: size * GB, numaNode: id < sizes.length / 2 ? 0 : 1 }))
}

/** Two NUMA nodes that share what there is. */
export function numa(cores: number, memoryBytes: number): NodeState['numaNodes'] {
  return [0, 1].map((id) => ({ id, cpus: String(id), cores: cores / 2, memoryBytes: memoryBytes / 2 }))
}

export function waiting(id: string, { target, ...overrides }: Partial<Omit<WaitingTask, 'target'>> & { target?: string } = {}): WaitingTask {
  return { id, count: 1, target: target === undefined ? null : parseTarget(target), cores: 1, memoryBytes: null, gpus: 0, gpuMemoryBytes: null, plain: false, version: null, timeLimitSeconds: null, blocked: [], ...overrides }
}

export function placed(id: string, overrides: Partial<PlacedTask> = {}): PlacedTask {
  return { id, cores: 1, memoryBytes: null, gpuIds: [], numaNode: null, endsBy: null, ...overrides }
}

export function input(tasks: WaitingTask[], nodes: NodeState[], overrides: Partial<PlanInput> = {}): PlanInput {
  return { waiting: tasks, nodes, loadBytes: new Map(), now: 0, ...overrides }
}
