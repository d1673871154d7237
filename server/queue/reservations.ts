import type { Execution } from '#core/api/schemas.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import type { Reserved } from '../nodes/node-record.ts'
import type { PlacedTask } from '../scheduler/types.ts'
import { type LeftBehind, leftBehind, placeOf, toPlaced } from './left-behind.ts'
import type { TaskRecord } from './task-record.ts'

/** What tasks hold on nodes, kept up with each change of a task. */
export interface Reservations {
  change(before: TaskRecord | undefined, after: TaskRecord): void
  /** What an earlier Host knew to be left behind. */
  leave(left: LeftBehind): void
  /** What may still be on a node although it was taken from it. */
  leftOn(hostname: string): Execution[]
  /** It is there no more. */
  forget(hostname: string, executions: readonly Execution[]): void
  /** The same array as long as nothing has changed on the node. */
  on(hostname: string): readonly PlacedTask[]
  /** In sum. */
  reservedOn(hostname: string): Reserved
}

export function createReservations(): Reservations {
  /** By the id of the task; what is left behind by its execution. */
  const nodes = new Map<string, Map<string, PlacedTask>>()
  const left = new Map<string, Map<string, Execution>>()
  const lists = new Map<string, readonly PlacedTask[]>()

  function remove(hostname: string, key: string): void {
    if (nodes.get(hostname)?.delete(key)) lists.delete(hostname)
  }

  function set(hostname: string, key: string, placed: PlacedTask): void {
    const here = nodes.get(hostname) ?? new Map<string, PlacedTask>()
    if (isSame(here.get(key), placed)) return
    here.set(key, placed)
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

  function leave({ node, id, instance, placed }: LeftBehind): void {
    const key = executionKey({ id, instance })
    left.set(node, (left.get(node) ?? new Map<string, Execution>()).set(key, { id, instance }))
    set(node, key, placed)
  }

  return {
    on,
    leave,
    change(before, after) {
      const holder = placeOf(after)
      const held = before && placeOf(before)
      if (held !== undefined && held !== holder) remove(held, after.id)
      if (holder !== undefined) set(holder, after.id, toPlaced(after))
      const rest = leftBehind(before, after)
      if (rest) leave(rest)
    },
    leftOn: (hostname) => [...(left.get(hostname)?.values() ?? [])],
    forget(hostname, executions) {
      for (const key of executions.map(executionKey)) {
        left.get(hostname)?.delete(key)
        remove(hostname, key)
      }
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

function isSame(left: PlacedTask | undefined, right: PlacedTask): boolean {
  return left !== undefined && left.endsBy === right.endsBy && left.numaNode === right.numaNode && left.gpuIds.join() === right.gpuIds.join()
}
