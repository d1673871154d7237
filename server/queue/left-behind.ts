import type { Execution } from '#core/api/schemas.ts'
import { holdsResources, mayComeBack } from '#core/tasks/states.ts'
import type { PlacedTask } from '../scheduler/types.ts'
import { assignedAt, type TaskRecord } from './task-record.ts'

/** An execution that a node may still have although its task was taken from it: nobody else gets its place before the node has told. */
export interface LeftBehind extends Execution {
  node: string
  placed: PlacedTask
}

/** What a change of a task leaves on the node that it was on. */
export function leftBehind(before: TaskRecord | undefined, after: TaskRecord): LeftBehind | undefined {
  const node = before && placeOf(before)
  if (before === undefined || node === undefined || (placeOf(after) === node && after.instance === before.instance)) return undefined
  // Who tells its end itself has it no more.
  if (after.events.at(-1)?.by === `node ${node}`) return undefined
  return { node, id: before.id, instance: before.instance, placed: toPlaced(before) }
}

/** The node that it holds resources on. */
export function placeOf(record: TaskRecord): string | undefined {
  return record.node !== null && (holdsResources(record.state) || mayComeBack(record)) ? record.node : undefined
}

/** What it holds there. */
export function toPlaced(record: TaskRecord): PlacedTask {
  const { id, cores, memoryBytes, gpuIds, numaNode, timeLimitSeconds, started } = record
  return { id, cores, memoryBytes, gpuIds, numaNode, endsBy: timeLimitSeconds === null ? null : (started === null ? assignedAt(record) : Date.parse(started)) + timeLimitSeconds * 1000 }
}
