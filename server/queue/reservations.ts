import { holdsResources, mayComeBack } from '#core/tasks/states.ts'
import type { Reserved } from '../nodes/node-record.ts'
import type { PlacedTask } from '../scheduler/types.ts'
import { assignedAt, type TaskRecord } from './task-record.ts'

/** What tasks hold on nodes, kept up with each change of a task. */
export interface Reservations {
  change(before: TaskRecord | undefined, after: TaskRecord): void
  /** The same array as long as nothing has changed on the node. */
  on(hostname: string): readonly PlacedTask[]
  /** In sum. */
  reservedOn(hostname: string): Reserved
}

export function createReservations(): Reservations {
  const nodes = new Map<string, Map<string, PlacedTask>>()
  const lists = new Map<string, readonly PlacedTask[]>()

  function remove(hostname: string, id: string): void {
    if (nodes.get(hostname)?.delete(id)) lists.delete(hostname)
  }

  function set(hostname: string, placed: PlacedTask): void {
    const here = nodes.get(hostname) ?? new Map<string, PlacedTask>()
    if (isSame(here.get(placed.id), placed)) return
    here.set(placed.id, placed)
    nodes.set(hostname, here)
    lists.delete(hostname)
  }

  function on(hostname: string): readonly PlacedTask[] {
    const known = lists.get(hostname)
    if (known) return known
    const list = [...(nodes.get(hostname)?.values() ?? [])]
    lists.set(hostname, list)
    return list
  }

  return {
    on,
    change(before, after) {
      const holder = placeOf(after)
      const held = before && placeOf(before)
      if (held !== undefined && held !== holder) remove(held, after.id)
      if (holder !== undefined) set(holder, toPlaced(after))
    },
    reservedOn(hostname) {
      const placed = on(hostname)
      return {
        cores: placed.reduce((sum, { cores }) => sum + cores, 0),
        memoryBytes: placed.reduce((sum, { memoryBytes }) => sum + (memoryBytes ?? 0), 0),
        gpuIds: placed.flatMap(({ gpuIds }) => gpuIds),
        tasks: placed.length,
      }
    },
  }
}

// --- internal ---

function placeOf(record: TaskRecord): string | undefined {
  return record.node !== null && (holdsResources(record.state) || mayComeBack(record)) ? record.node : undefined
}

function toPlaced(record: TaskRecord): PlacedTask {
  const { id, cores, memoryBytes, gpuIds, numaNode, timeLimitSeconds, started } = record
  return { id, cores, memoryBytes, gpuIds, numaNode, endsBy: timeLimitSeconds === null ? null : (started === null ? assignedAt(record) : Date.parse(started)) + timeLimitSeconds * 1000 }
}

function isSame(left: PlacedTask | undefined, right: PlacedTask): boolean {
  return left !== undefined && left.endsBy === right.endsBy && left.numaNode === right.numaNode && left.gpuIds.join() === right.gpuIds.join()
}
