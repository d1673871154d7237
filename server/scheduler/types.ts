import type { Gpu, NumaNode, WaitingReason } from '#core/api/schemas.ts'
import type { Target } from '#core/tasks/targets.ts'

/** What the planner is given, and what it answers. How it decides is told in `docs/scheduling.md`. */

/** What a task asks a node for. */
export interface ResourceRequest {
  /** Where it must run; `null`: anywhere. */
  target: Target | null
  cores: number
  /** Bytes; `null` reserves nothing. */
  memoryBytes: number | null
  /** So many GPUs; GPUs that the target names are asked for instead. */
  gpus: number
  /** Least memory of each GPU, in bytes. */
  gpuMemoryBytes: number | null
  /** No container: only for nodes that take plain processes. */
  plain: boolean
}

/** A task, or all items of a batch that wait: they are alike. Never changed once it was given to a planner: what changes is a new object, what does not is the same one. */
export interface WaitingTask extends ResourceRequest {
  id: string
  /** How many of it may be placed now: 1 for a task, 0 for what may not start yet. */
  count: number
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
  /** When its time limit ends it, Unix milliseconds, counted from its start, or from its assignment while it has not started; `null`: nobody knows. */
  endsBy: number | null
}

/** What a node has. */
export interface NodeCapacity {
  hostname: string
  cores: number
  memoryBytes: number
  numaNodes: readonly NumaNode[]
  gpus: readonly Gpu[]
  plainProcesses: boolean
}

/** Never changed once it was given to a planner, as {@link WaitingTask}. */
export interface NodeState extends NodeCapacity {
  online: boolean
  drained: { reason: string } | null
  placed: readonly PlacedTask[]
}

export interface PlanInput {
  /** In the order of the queue: the first goes first. */
  waiting: readonly WaitingTask[]
  /** In any order. */
  nodes: readonly NodeState[]
  /** Version key → hostname → bytes that the node would have to load. A node that is not there would load all. Maps, or what works it out when asked: only nodes with room are asked about. */
  loadBytes: LoadBytes
  /** Unix milliseconds. */
  now: number
  /** Without it all are placed that have room. */
  mostPlacements?: number
}

export interface LoadBytes {
  get(version: string): { get(hostname: string): number | undefined } | undefined
}

export interface Placement {
  taskId: string
  node: string
  gpuIds: number[]
  numaNode: number | null
}

/** A node that others leave to a task which waits for room on it. */
export interface KeptNode {
  taskId: string
  node: string
  /** When the task can start there at the latest, by the time limits of what runs, Unix milliseconds; `null`: nobody knows. */
  startsBy: number | null
}

/** A node, and why a task can not start there; `null`: it could. */
export interface NodeVerdict {
  hostname: string
  reason: WaitingReason | null
}

export interface Plan {
  /** In the order in which they were decided; one entry for each item of a batch. */
  placements: Placement[]
  kept: readonly KeptNode[]
  /** It has as many placements as it may, and there may be more to place. */
  isCut: boolean
  /** The first reason why a task waits, or what was not placed of a batch, for people; `null`: all of it was placed, or it is not known. Worked out when asked: only the newest plan of a planner can be. */
  reasonFor(taskId: string): WaitingReason | null
  /** Each node by name, and why not there; none if the task is not known. As {@link reasonFor}. */
  nodesFor(taskId: string): NodeVerdict[]
}

/** Keeps what it worked out between passes, and looks again only at what is another object than before. Plans exactly as `planPlacements` does. */
export interface Planner {
  plan(input: PlanInput): Plan
}
