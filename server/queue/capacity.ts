import { parseTarget } from '#core/tasks/targets.ts'
import { holdsResources } from '#core/tasks/states.ts'
import type { NodeRecord } from '../nodes/nodes.ts'
import type { NodeState, WaitingTask } from '../scheduler/types.ts'
import type { TaskRecord } from './task-record.ts'

/** What a node has, and what is placed on it. */
export function nodeState(node: NodeRecord, active: readonly TaskRecord[]): NodeState {
  const { hostname } = node
  const placed = active.filter((task) => task.node === hostname && holdsResources(task.state)).map(({ id, cores: taskCores, memoryBytes: taskMemory, gpuIds, numaNode }) => ({ id, cores: taskCores, memoryBytes: taskMemory, gpuIds, numaNode, endsBy: null }))
  return { ...node, drained: node.drained !== null, placed }
}

/** Tasks that wait for a place, in their order. */
export function waitingTasks(active: readonly TaskRecord[]): TaskRecord[] {
  return active.filter(({ state, wish }) => state === 'queued' && wish !== 'kill')
}

export function toWaiting(task: Pick<TaskRecord, 'id' | 'target' | 'cores' | 'memoryBytes' | 'gpus' | 'gpuMemoryBytes' | 'environment' | 'timeLimitSeconds'>): WaitingTask {
  const { id, target, cores, memoryBytes, gpus, gpuMemoryBytes, environment, timeLimitSeconds } = task
  return { id, count: 1, target: target === null ? null : parseTarget(target), cores, memoryBytes, gpus, gpuMemoryBytes, plain: environment === null, version: null, timeLimitSeconds, blocked: [] }
}
