import type { Generated, Insertable, Selectable } from 'kysely'
import type { TaskReason, TaskState, TaskWish } from '#core/tasks/states.ts'

/** The Host's tables. Columns in snake_case, times as ISO 8601 UTC text, structured values as JSON text. */
export interface Tables {
  operations: OperationTable
  nodes: NodeTable
  tasks: TaskTable
  version_marks: VersionMarkTable
  notifications: NotificationTable
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

interface TaskTable {
  id: string
  state: TaskState
  wish: TaskWish
  reason: TaskReason | null
  message: string | null
  exit_code: number | null
  node: string | null
  target: string | null
  environment: string
  version: number
  /** File name and image ids of the version, as pinned at submit. */
  pinned: string
  command: string
  env: string
  mounts: string
  cores: number
  memory_bytes: number | null
  submitted: string
  started: string | null
  finished: string | null
  /** Last report that was taken in; older ones are ignored. */
  sequence: Generated<number>
  stdout_bytes: number | null
  stderr_bytes: number | null
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

export type OperationRow = Selectable<OperationTable>
export type NodeRow = Selectable<NodeTable>
export type TaskRow = Selectable<TaskTable>
export type NewTask = Insertable<TaskTable>
