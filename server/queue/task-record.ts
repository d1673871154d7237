import type { Task, VersionOrder } from '#core/api/schemas.ts'
import type { NewTask, TaskRow } from '../database/tables.ts'

/** What was decided about the version at submit: it never changes afterwards. */
export type PinnedVersion = Pick<VersionOrder, 'fileName' | 'configDigest' | 'manifestDigest'>

const extraKeys = ['pinned', 'numaNode', 'name', 'submitter', 'batch', 'index', 'variables', 'items', 'gpus', 'gpuMemoryBytes', 'gpuIds', 'user', 'workdir', 'network', 'privileged', 'priority', 'at', 'after', 'retries', 'timeLimitSeconds', 'signal', 'graceSeconds', 'notifyUrl'] as const
type Extra = Pick<TaskRecord, (typeof extraKeys)[number]>

/** A task as the Host keeps it: the API's object, and what only the Host needs. */
export interface TaskRecord extends Task {
  pinned: PinnedVersion
  numaNode: number | null
  /** Last report that was taken in; 0: the node has not answered yet. */
  sequence: number
  /** Final sizes of the output, in bytes. */
  stdoutBytes: number | null
  stderrBytes: number | null
}

/** The API's object. */
export function toTask({ pinned: _pinned, numaNode: _numa, sequence: _sequence, stdoutBytes: _out, stderrBytes: _err, ...task }: TaskRecord): Task {
  return task
}

export function fromRow(row: TaskRow): TaskRecord {
  return {
    id: row.id,
    state: row.state,
    wish: row.wish,
    reason: row.reason,
    message: row.message,
    exitCode: row.exit_code,
    node: row.node,
    target: row.target,
    environment: row.environment || null,
    version: row.version || null,
    ...(JSON.parse(row.pinned) as Pick<TaskRecord, 'pinned'> & Extra),
    instance: row.node === null ? 0 : 1,
    command: JSON.parse(row.command) as string[],
    env: JSON.parse(row.env) as Record<string, string>,
    mounts: JSON.parse(row.mounts) as string[],
    cores: row.cores,
    memoryBytes: row.memory_bytes,
    // Told again in a second, so nothing of it is kept on the disk.
    sync: null,
    submitted: row.submitted,
    started: row.started,
    finished: row.finished,
    sequence: row.sequence,
    stdoutBytes: row.stdout_bytes,
    stderrBytes: row.stderr_bytes,
  }
}

export function toRow(record: TaskRecord): NewTask {
  return {
    id: record.id,
    environment: record.environment ?? '',
    version: record.version ?? 0,
    pinned: JSON.stringify(Object.fromEntries(extraKeys.map((key) => [key, record[key]]))),
    command: JSON.stringify(record.command),
    env: JSON.stringify(record.env),
    mounts: JSON.stringify(record.mounts),
    cores: record.cores,
    memory_bytes: record.memoryBytes,
    target: record.target,
    submitted: record.submitted,
    ...toChanges(record),
  }
}

/** The columns that change during a task's life. */
export function toChanges(record: TaskRecord) {
  return {
    state: record.state,
    wish: record.wish,
    reason: record.reason,
    message: record.message,
    exit_code: record.exitCode,
    node: record.node,
    started: record.started,
    finished: record.finished,
    sequence: record.sequence,
    stdout_bytes: record.stdoutBytes,
    stderr_bytes: record.stderrBytes,
  }
}
