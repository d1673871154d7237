import type { BatchItems, Items, SubmitBody, Task, TaskEvent, VersionOrder } from '#core/api/schemas.ts'
import type { IndexSet } from '#core/tasks/index-set.ts'
import type { TaskState } from '#core/tasks/states.ts'

/** What was decided about the version at submit: it never changes afterwards. */
export type PinnedVersion = Pick<VersionOrder, 'fileName' | 'configDigest' | 'manifestDigest'>

/** What was submitted, as it was. */
type SubmittedSpec = Pick<SubmitBody, 'name' | 'command' | 'env' | 'mounts' | 'cores' | 'memoryBytes' | 'gpus' | 'gpuMemoryBytes' | 'user' | 'workdir' | 'network' | 'privileged' | 'at' | 'after' | 'retries' | 'timeLimitSeconds' | 'signal' | 'graceSeconds' | 'notifyUrl' | 'parallel' | 'pack'>

/** What was submitted, and never changes. Items share their batch's. */
export interface TaskSpec extends SubmittedSpec {
  /** `null`: no container. */
  pinned: PinnedVersion | null
  /** Of a batch. */
  kind: BatchItems['kind'] | null
  /** Of an array: as it was submitted. */
  arrayIndexes: string | null
}

/** A task, a batch or an item as the Host keeps it. Never changed: a change makes another object. */
export interface TaskRecord extends TaskSpec, Pick<Task, 'id' | 'batch' | 'index' | 'variables' | 'state' | 'wish' | 'reason' | 'message' | 'exitCode' | 'instance' | 'node' | 'target' | 'environment' | 'version' | 'submitter' | 'priority' | 'gpuIds' | 'sync' | 'submitted' | 'started' | 'finished'> {
  /** The place in lists. */
  number: number
  /** Items have none until something happens to them. */
  hasRow: boolean
  items: BatchRecord | null
  /** The place in the queue among those of one priority; then comes {@link number}. */
  rank: number
  retriesLeft: number
  /** Unix milliseconds; `null`: at once. */
  notBefore: number | null
  numaNode: number | null
  /** Last report of this instance that was taken in; 0: the node has not answered yet. */
  sequence: number
  /** Final sizes of the output of the last execution, in bytes. */
  stdoutBytes: number | null
  stderrBytes: number | null
  events: readonly TaskEvent[]
}

/** What only a batch has. */
export interface BatchRecord {
  size: number
  /** Of all its items. */
  indexes: IndexSet
  /** Items that wait and have no row. */
  pending: IndexSet
  /** How those ended that have no row and do not wait. */
  unplaced: UnplacedEnd | null
  /** What makes the items of lines and sweeps; read for batches that go on. */
  source: Items | null
  /** How many items are in which state, once it has ended. */
  counts: StateCounts | null
}
export type UnplacedEnd = 'killed' | 'failed'
export type StateCounts = Partial<Record<TaskState, number>>

/** When it was given to its node, Unix milliseconds. */
export function assignedAt({ events, submitted }: Pick<TaskRecord, 'events' | 'submitted'>): number {
  return Date.parse(events.findLast(({ event }) => event === 'assigned')?.time ?? submitted)
}

/** The id of an item's batch; `undefined` for what is no item. */
export function batchIdOf(id: string): string | undefined {
  const dot = id.indexOf('.')
  return dot === -1 ? undefined : id.slice(0, dot)
}

export function itemId(batchId: string, index: number): string {
  return `${batchId}.${index}`
}

/**
 * A record of what was submitted and all else. By name, one by one: of a spread with more behind it V8 makes a shape of its own for each property
 * of each object, which takes about 0.3 ms.
 */
export function makeRecord(spec: SubmittedSpec, own: Omit<TaskRecord, keyof SubmittedSpec>): TaskRecord {
  return {
    name: spec.name, command: spec.command, env: spec.env, mounts: spec.mounts, cores: spec.cores, memoryBytes: spec.memoryBytes, gpus: spec.gpus,
    gpuMemoryBytes: spec.gpuMemoryBytes, user: spec.user, workdir: spec.workdir, network: spec.network, privileged: spec.privileged, at: spec.at, after: spec.after,
    retries: spec.retries, timeLimitSeconds: spec.timeLimitSeconds, signal: spec.signal, graceSeconds: spec.graceSeconds, notifyUrl: spec.notifyUrl,
    parallel: spec.parallel, pack: spec.pack, pinned: own.pinned, kind: own.kind, arrayIndexes: own.arrayIndexes,
    number: own.number, hasRow: own.hasRow, id: own.id, batch: own.batch, index: own.index, variables: own.variables, items: own.items, state: own.state, wish: own.wish,
    reason: own.reason, message: own.message, exitCode: own.exitCode, instance: own.instance, node: own.node, target: own.target, environment: own.environment,
    version: own.version, submitter: own.submitter, priority: own.priority, rank: own.rank, retriesLeft: own.retriesLeft, notBefore: own.notBefore, gpuIds: own.gpuIds,
    numaNode: own.numaNode, sync: own.sync, submitted: own.submitted, started: own.started, finished: own.finished, sequence: own.sequence, stdoutBytes: own.stdoutBytes,
    stderrBytes: own.stderrBytes, events: own.events,
  }
}

const isOfSpec = {
  name: true, command: true, env: true, mounts: true, cores: true, memoryBytes: true, gpus: true, gpuMemoryBytes: true, user: true, workdir: true, network: true, privileged: true, at: true, after: true,
  retries: true, timeLimitSeconds: true, signal: true, graceSeconds: true, notifyUrl: true, parallel: true, pack: true, pinned: true, kind: true, arrayIndexes: true,
} satisfies Record<keyof TaskSpec, true>
/** All fields of a {@link TaskSpec}. */
export const specKeys = Object.keys(isOfSpec) as (keyof typeof isOfSpec)[]

/** What of a record was submitted. */
export function specOf({ name, command, env, mounts, cores, memoryBytes, gpus, gpuMemoryBytes, user, workdir, network, privileged, at, after, retries, timeLimitSeconds, signal, graceSeconds, notifyUrl, parallel, pack, pinned, kind, arrayIndexes }: TaskRecord): TaskSpec {
  return { name, command, env, mounts, cores, memoryBytes, gpus, gpuMemoryBytes, user, workdir, network, privileged, at, after, retries, timeLimitSeconds, signal, graceSeconds, notifyUrl, parallel, pack, pinned, kind, arrayIndexes }
}
