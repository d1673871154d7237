import type { Selectable } from 'kysely'
import type { TaskReason, TaskState, TaskWish } from '#core/tasks/states.ts'

/** The Host's tables. Columns in snake_case, times as ISO 8601 UTC text, structured values as JSON text. */
export interface Tables {
  operations: OperationTable
  nodes: NodeTable
  tasks: TaskTable
  task_specs: TaskSpecTable
  submit_keys: SubmitKeyTable
  version_marks: VersionMarkTable
  notifications: NotificationTable
  left_behind: LeftBehindTable
}

interface OperationTable {
  id: string
  kind: 'create_container' | 'create_version' | 'rollback' | 'fork' | 'prefetch_version' | 'verify_version'
  environment: string
  state: 'running' | 'succeeded' | 'failed' | 'cancelled'
  progress: string
  created: string
  finished: string | null
  result: string | null
  error: string | null
  /** What a crash would leave to be undone, as JSON; `null` once nothing is. */
  undo: string | null
}

interface NodeTable {
  hostname: string
  url: string
  /** What the Host shows when it calls the Runner. */
  host_token: string
  instance_id: string
  last_heartbeat: string
  hardware: string
  usage: string
  engine: string | null
  runner_version: string
  /** Since when and why it gets no more tasks, as JSON. */
  drained: string | null
  /** 0 or 1: as it was when that last changed. */
  online: number
}

/** Tasks, batches and items of batches. What never changes and is only shown stands in {@link TaskSpecTable}. */
interface TaskTable {
  /** The place in lists, which grows with each submission. A batch has the one behind those that are kept for its items. */
  number: number
  id: string
  /** Of an item: the number of its batch, whose spec it shares. */
  batch: number | null
  item_index: number | null
  /** Of an item of lines or a sweep, as JSON. */
  variables: string | null
  state: TaskState
  wish: TaskWish
  reason: TaskReason | null
  message: string | null
  exit_code: number | null
  /** Executions so far. */
  instance: number
  node: string | null
  target: string | null
  environment: string | null
  version: number | null
  submitter: string
  priority: number
  /** The place in the queue among those of one priority. */
  rank: number
  retries_left: number
  /** Unix milliseconds. */
  not_before: number | null
  /** As JSON; `null`: none. */
  gpu_ids: string | null
  numa_node: number | null
  submitted: string
  started: string | null
  finished: string | null
  /** Last report of this instance that was taken in; older ones are ignored. */
  sequence: number
  stdout_bytes: number | null
  stderr_bytes: number | null
  /** Of a batch: how many items it has. */
  size: number | null
  /** Of a batch: indexes of items that wait and have no row. */
  pending: string | null
  /** Of a batch: how the items ended that never got a row. */
  unplaced: 'killed' | 'failed' | null
  /** Of a batch that has ended: its items by their states, as JSON. */
  counts: string | null
  events: string
}

interface TaskSpecTable {
  /** Of the task or batch. */
  number: number
  /** What was submitted, without what is its default, as JSON. */
  spec: string
  /** What makes the items of a batch, as JSON. */
  items: string | null
}

/** What was submitted with which key. */
interface SubmitKeyTable {
  /** Of the task or batch. */
  number: number
  key: string
  /** Of the request that it came with; `null`: it was not kept. */
  digest: string | null
}

interface VersionMarkTable {
  environment: string
  version: number
  /** 0 or 1. */
  pinned: number
  /** 0 or 1. */
  candidate: number
  damage: string | null
  /** The node that found the damage, as long as the Host has not looked itself. */
  suspected_by: string | null
}

/** Tasks of whose end somebody is to be told, until it has been. */
interface NotificationTable {
  task: string
  /** That failed. */
  tries: number
  /** When to try next; `null`: its task has not ended. */
  due: string | null
}

/** Executions that a node may still have although their tasks were taken from it. */
interface LeftBehindTable {
  node: string
  id: string
  instance: number
  /** What it holds there, as JSON. */
  placed: string
}

export type OperationRow = Selectable<OperationTable>
export type NodeRow = Selectable<NodeTable>
export type TaskRow = Selectable<TaskTable>
export type TaskSpecRow = Selectable<TaskSpecTable>
