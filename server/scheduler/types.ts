import type { Gpu, NumaNode, WaitingReason } from '#core/api/schemas.ts'
import type { Target } from '#core/tasks/targets.ts'

/** What the planner is given, and what it answers. */

/** A task, or all items of a batch that wait: they are alike. */
export interface WaitingTask {
  id: string
  /** How many of it may be placed now: 1 for a task, 0 for what may not start yet. */
  count: number
  /** Where it must run; `null`: anywhere. */
  target: Target | null
  cores: number
  /** Bytes; `null` reserves nothing. */
  memoryBytes: number | null
  gpus: number
  /** Least memory of each GPU, in bytes. */
  gpuMemoryBytes: number | null
  /** No container: only for nodes that take plain processes. */
  plain: boolean
  /** Key into {@link PlanInput.loadBytes}; `null`: nothing to load. */
  version: string | null
  timeLimitSeconds: number | null
  /** Why it may not start yet, whatever the nodes have: held, dependency, limit, … Empty: it may. */
  blocked: readonly WaitingReason[]
}

/** A task that holds resources on a node. */
export interface PlacedTask {
  id: string
  cores: number
  memoryBytes: number | null
  gpuIds: readonly number[]
  numaNode: number | null
  /** When its time limit ends it, Unix milliseconds; `null`: nobody knows. */
  endsBy: number | null
}

export interface NodeState {
  hostname: string
  online: boolean
  drained: boolean
  cores: number
  memoryBytes: number
  numaNodes: readonly NumaNode[]
  gpus: readonly Gpu[]
  plainProcesses: boolean
  placed: readonly PlacedTask[]
}

export interface PlanInput {
  /** In the order of the queue: the first goes first. */
  waiting: readonly WaitingTask[]
  nodes: readonly NodeState[]
  /** Version key → hostname → bytes that the node would have to load. A node that is not there would load all. */
  loadBytes: ReadonlyMap<string, ReadonlyMap<string, number>>
  /** Unix milliseconds. */
  now: number
}

export interface Placement {
  taskId: string
  node: string
  gpuIds: number[]
  numaNode: number | null
}

export interface Plan {
  /** In the order in which they were decided; one entry for each item of a batch. */
  placements: Placement[]
  /** Why each of the others waits: the first reason, for people. */
  waiting: Map<string, WaitingReason>
}
