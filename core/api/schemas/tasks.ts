import { z } from 'zod'
import { taskReasons, taskStates, taskWishes } from '../../tasks/states.ts'
import { bytes, pageQuery, text, time } from './common.ts'
import { dependency, signalName, taskId } from './submission.ts'
import { syncProgress } from './sync.ts'

const stateCounts = z.partialRecord(z.enum(taskStates), z.int().nonnegative())

/** What only a batch has. */
export const batchItems = z.object({
  kind: z.enum(['targets', 'array', 'lines', 'sweep']),
  size: z.int(),
  parallel: z.int().nullable(),
  pack: z.boolean(),
  /** Indexes that no node was given yet, such as `51-1000`. Until then they are no tasks of their own. */
  pending: z.string(),
  /** How many items are in which state. They sum up to `size`. */
  counts: stateCounts,
})
export type BatchItems = z.infer<typeof batchItems>

export const task = z.object({
  id: z.string(),
  name: z.string(),
  /** Who submitted it, as told. */
  submitter: z.string(),
  /** The batch that it is an item of. */
  batch: z.string().nullable(),
  /** Which item it is. */
  index: z.int().nullable(),
  /** The item's variables. */
  variables: z.record(z.string(), z.string()),
  /** Of a batch; `null`: a task. A batch is `queued` until its first item is given to a node, `running` until the last has ended, then as its items are. */
  items: batchItems.nullable(),
  state: z.enum(taskStates),
  wish: z.enum(taskWishes),
  reason: z.enum(taskReasons).nullable(),
  /** One sentence for people about `reason`, or what it waits for. */
  message: z.string().nullable(),
  /** Of a batch that has ended: the highest of its items'. */
  exitCode: z.int().nullable(),
  /** How many times it was given to a node; reports and output of an earlier time are told apart by it. */
  instance: z.int().nonnegative(),
  node: z.string().nullable(),
  target: z.string().nullable(),
  environment: z.string().nullable(),
  version: z.int().nullable(),
  command: z.array(z.string()),
  env: z.record(z.string(), z.string()),
  mounts: z.array(z.string()),
  cores: z.int(),
  memoryBytes: bytes.nullable(),
  gpus: z.int(),
  gpuMemoryBytes: bytes.nullable(),
  /** Those that it was given on its node. */
  gpuIds: z.array(z.int()),
  user: z.string().nullable(),
  workdir: z.string().nullable(),
  network: z.string().nullable(),
  privileged: z.boolean(),
  priority: z.int(),
  at: time.nullable(),
  after: z.array(dependency),
  retries: z.int(),
  timeLimitSeconds: z.number().nullable(),
  signal: signalName,
  graceSeconds: z.number(),
  notifyUrl: z.string().nullable(),
  /** How far its version is, while the task is `syncing`. */
  sync: syncProgress.nullable(),
  submitted: time,
  started: time.nullable(),
  finished: time.nullable(),
})
export type Task = z.infer<typeof task>

/** One thing that happened to a task. */
export const taskEvent = z.object({
  time,
  /** A state that it came to, what was asked for, or (`note`) what is told beside that. */
  event: z.enum(['submitted', ...taskStates, 'hold', 'release', 'pause', 'resume', 'kill', 'move', 'retry', 'note']),
  /** `user NAME`, `host`, `node NAME`. */
  by: z.string(),
  instance: z.int(),
  node: z.string().nullable(),
  message: z.string().nullable(),
})
export type TaskEvent = z.infer<typeof taskEvent>

/** Oldest first; of very many the ones in the middle are left out. */
export const taskDetails = task.extend({ events: z.array(taskEvent) })
export type TaskDetails = z.infer<typeof taskDetails>

export const taskQuery = pageQuery.extend({
  state: z.enum(taskStates).optional(),
  node: z.string().max(64).optional(),
  /** `NULL`: plain processes. */
  environment: z.string().max(64).optional(),
  submitter: z.string().max(128).optional(),
  /** Items of this batch. */
  batch: z.string().max(64).optional(),
  /** Submitted at this time or later. */
  since: time.optional(),
  /** `top`: batches and tasks that belong to none. `all`: items too. */
  level: z.enum(['top', 'all']).default('all'),
})
export type TaskQuery = z.infer<typeof taskQuery>

/** What a submission would come to, now. */
export const submitPreview = z.object({
  environment: z.string().nullable(),
  version: z.int().nullable(),
  fileName: z.string().nullable(),
  /** One for each target; of an array only the first item. */
  tasks: z.array(z.object({
    target: z.string().nullable(),
    /** Where it would run: at once, or when it is its turn; `null`: shown by then. */
    node: z.string().nullable(),
    /** Its place in the queue; 0: it starts at once. */
    place: z.int().nonnegative(),
    /** What it would wait for. */
    message: z.string().nullable(),
    /** What the node would have to read of the version; `null` while the node is not known. */
    syncBytes: bytes.nullable(),
  })),
})
export type SubmitPreview = z.infer<typeof submitPreview>

/** The tasks; of several targets the items, of an array the batch alone. */
export const submitResponse = z.object({ tasks: z.array(task) })

export const moveBody = z.strictObject({
  /** Ahead of, or behind, all of its priority that wait; or directly ahead of this one, whose priority it takes. */
  to: z.union([z.literal('first'), z.literal('last'), z.strictObject({ before: taskId })]).optional(),
  priority: z.int().min(-1000).max(1000).optional(),
  /** Another target; `null`: any node. */
  target: z.string().max(256).nullable().optional(),
})
export type MoveBody = z.infer<typeof moveBody>

export const rerunBody = z.strictObject({
  /** The current version of the environment instead of the pinned one. */
  latest: z.boolean().default(false),
  submitter: text.max(128).default(''),
  /** As of a submission. */
  key: text.min(8).max(64).optional(),
})
export type RerunBody = z.infer<typeof rerunBody>

/** Why a task that waits does not run, or not on one node. */
const waitingCode = z.enum([
  'hold', 'not_before', 'dependency', 'limit', 'retry_backoff', 'environment_missing', 'environment_damaged', 'environment_suspected',
  'no_node', 'other_target', 'offline', 'drained', 'no_plain_processes', 'no_such_numa_node', 'no_such_gpu', 'too_small', 'no_room', 'kept_for_other',
])
export const waitingReason = z.object({ code: waitingCode, message: z.string() })
export type WaitingReason = z.infer<typeof waitingReason>

export const explanation = z.object({
  id: z.string(),
  state: z.enum(taskStates),
  /** One sentence. */
  summary: z.string(),
  /** Its place among all that wait, from 1; `null`: it does not wait. */
  place: z.int().nullable(),
  waiting: z.int(),
  /** What keeps it from running whatever the nodes have. */
  reasons: z.array(waitingReason),
  /** Each node, and why not there; `reason` is `null` where it could start. */
  nodes: z.array(z.object({ hostname: z.string(), reason: waitingReason.nullable() })),
})
export type Explanation = z.infer<typeof explanation>

export const outputQuery = z.strictObject({
  /** First byte to send. */
  offset: z.coerce.number().int().min(0).default(0),
  /** Instead: so many lines from the end. */
  tail: z.coerce.number().int().min(0).max(1_000_000).optional(),
  /** Go on until the task has ended and everything was sent. */
  follow: z.stringbool().default(false),
  /** Which execution; the last unless said. */
  instance: z.coerce.number().int().min(1).optional(),
})
export type OutputQuery = z.infer<typeof outputQuery>
