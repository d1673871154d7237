import { holdsResources } from '#core/tasks/states.ts'
import type { NodeRecord } from '../nodes/nodes.ts'
import type { NodeCapacity } from '../scheduler/plan.ts'
import type { TaskRecord } from './task-record.ts'

/** What a node has, and how much of it is reserved. */
export function capacityOf({ hostname, online, cores, memoryBytes }: NodeRecord, active: readonly TaskRecord[]): NodeCapacity {
  const here = active.filter((task) => task.node === hostname && holdsResources(task.state))
  return {
    hostname,
    online,
    cores,
    memoryBytes,
    coresReserved: here.reduce((sum, task) => sum + task.cores, 0),
    memoryReservedBytes: here.reduce((sum, task) => sum + (task.memoryBytes ?? 0), 0),
  }
}

/** Tasks that wait for a place, in their order. */
export function waitingTasks(active: readonly TaskRecord[]): TaskRecord[] {
  return active.filter(({ state, wish }) => state === 'queued' && wish !== 'kill')
}
