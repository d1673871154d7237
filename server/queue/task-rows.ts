import type { Items } from '#core/api/schemas.ts'
import { firstIndexes, formatIndexes, parseIndexes, readIndexes } from '#core/tasks/index-set.ts'
import type { TaskRow, TaskSpecRow } from '../database/tables.ts'
import { decodeEvents, encodeEvents } from './events.ts'
import { batchIdOf, type BatchRecord, makeRecord, specKeys, type StateCounts, type TaskRecord, type TaskSpec } from './task-record.ts'

/** Records as rows, and back. */

/** A row as it is read, with the spec of its own or of its batch. `events` and `items` are left out where they are not needed. */
export interface ReadRow extends Omit<TaskRow, 'events'>, Pick<TaskSpecRow, 'spec'> {
  events?: string | null
  items?: string | null
}

/** What is the case unless a spec says something else. Defaults of later fields are added here, and none is changed. */
const defaultSpec: TaskSpec = {
  name: '', command: [], env: {}, mounts: [], cores: 1, memoryBytes: null, gpus: 0, gpuMemoryBytes: null, user: null, workdir: null, network: null, privileged: false,
  at: null, after: [], retries: 0, timeLimitSeconds: null, signal: 'SIGTERM', graceSeconds: 10, notifyUrl: null, parallel: null, pack: false, pinned: null, kind: null, arrayIndexes: null,
}
const defaultObjects = new Map(Object.entries(defaultSpec).map(([key, value]) => [key, JSON.stringify(value)]))

export function encodeSpec(record: TaskRecord): string {
  const given = specKeys.filter((key) => !isDefault(key, record[key]))
  return `{${given.map((key) => `"${key}":${JSON.stringify(record[key])}`).join(',')}}`
}

/** `spec`: parsed already, because items share their batch's. */
export function fromRow(row: ReadRow, spec: TaskSpec = decodeSpec(row.spec)): TaskRecord {
  return makeRecord(spec, {
    pinned: spec.pinned,
    kind: spec.kind,
    arrayIndexes: spec.arrayIndexes,
    number: row.number,
    hasRow: true,
    id: row.id,
    batch: batchIdOf(row.id) ?? null,
    index: row.item_index,
    variables: row.variables === null ? (row.item_index === null || spec.kind !== 'array' ? {} : { index: String(row.item_index) }) : (JSON.parse(row.variables) as Record<string, string>),
    items: toBatch(row, spec),
    state: row.state,
    wish: row.wish,
    reason: row.reason,
    message: row.message,
    exitCode: row.exit_code,
    instance: row.instance,
    node: row.node,
    target: row.target,
    environment: row.environment,
    version: row.version,
    submitter: row.submitter,
    priority: row.priority,
    rank: row.rank,
    retriesLeft: row.retries_left,
    notBefore: row.not_before,
    gpuIds: row.gpu_ids === null ? [] : (JSON.parse(row.gpu_ids) as number[]),
    numaNode: row.numa_node,
    // Told again in a second, so nothing of it is kept on the disk.
    sync: null,
    submitted: row.submitted,
    started: row.started,
    finished: row.finished,
    sequence: row.sequence,
    stdoutBytes: row.stdout_bytes,
    stderrBytes: row.stderr_bytes,
    events: row.events ? decodeEvents(row.events, row.submitted) : [],
  })
}

export function decodeSpec(text: string): TaskSpec {
  return { ...defaultSpec, ...(JSON.parse(text) as Partial<TaskSpec>) }
}

/** `batchNumber`: of an item. */
export function toRow(record: TaskRecord, batchNumber: number | null): TaskRow {
  const { index, kind, variables } = record
  return {
    number: record.number,
    id: record.id,
    batch: batchNumber,
    item_index: index,
    variables: index === null || kind === 'array' || kind === 'targets' ? null : JSON.stringify(variables),
    environment: record.environment,
    version: record.version,
    submitter: record.submitter,
    submitted: record.submitted,
    size: record.items?.size ?? null,
    ...toChanges(record),
  }
}

/** The columns that change during a task's life. */
export function toChanges(record: TaskRecord) {
  const { items } = record
  return {
    state: record.state,
    wish: record.wish,
    reason: record.reason,
    message: record.message,
    exit_code: record.exitCode,
    instance: record.instance,
    node: record.node,
    target: record.target,
    priority: record.priority,
    rank: record.rank,
    retries_left: record.retriesLeft,
    not_before: record.notBefore,
    gpu_ids: record.gpuIds.length === 0 ? null : JSON.stringify(record.gpuIds),
    numa_node: record.numaNode,
    started: record.started,
    finished: record.finished,
    sequence: record.sequence,
    stdout_bytes: record.stdoutBytes,
    stderr_bytes: record.stderrBytes,
    pending: items === null ? null : formatIndexes(items.pending),
    unplaced: items?.unplaced ?? null,
    counts: items?.counts ? JSON.stringify(items.counts) : null,
    events: encodeEvents(record.events, record.submitted),
  }
}

// --- internal ---

/** Most are numbers, words and `null`: told apart without their JSON. */
function isDefault(key: keyof TaskSpec, value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return JSON.stringify(value) === defaultObjects.get(key)
  return value === defaultSpec[key]
}

function toBatch(row: ReadRow, { arrayIndexes }: TaskSpec): BatchRecord | null {
  if (row.size === null) return null
  return {
    size: row.size,
    indexes: arrayIndexes === null ? firstIndexes(row.size) : parseIndexes(arrayIndexes),
    pending: readIndexes(row.pending ?? ''),
    unplaced: row.unplaced,
    source: row.items ? (JSON.parse(row.items) as Items) : null,
    counts: row.counts === null ? null : (JSON.parse(row.counts) as StateCounts),
  }
}
