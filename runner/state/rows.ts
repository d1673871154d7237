import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { ImageRecord, TaskRecord } from './state.ts'
import type { ExecutionRow, ImageRow } from './tables.ts'

/** A report may be ahead of the disk by what is told while a write is due; the Host ignores sequences it has seen. */
const SEQUENCE_GAP = 1000

/** A record as it is stored. */
export function toRow(record: TaskRecord): ExecutionRow {
  return {
    id: record.order.id,
    instance: record.order.instance,
    task_order: JSON.stringify(record.order),
    report: JSON.stringify(record.report),
    acknowledged: record.acknowledged,
    wish: record.wish,
    is_timed_out: record.isTimedOut ? 1 : 0,
    handle: record.handle,
    cpus: record.cpus,
    released: record.released,
  }
}

/** The sequences of an unfinished execution jump ahead of all that was reported before. */
export function fromRow(row: ExecutionRow): TaskRecord {
  const report = JSON.parse(row.report) as TaskReport
  if (!isFinal(report.state)) report.sequence += SEQUENCE_GAP
  return {
    order: JSON.parse(row.task_order) as TaskOrder,
    report,
    acknowledged: row.acknowledged,
    wish: row.wish,
    isTimedOut: row.is_timed_out === 1,
    handle: row.handle,
    cpus: row.cpus,
    released: row.released,
  }
}

export function toImage(row: ImageRow): ImageRecord {
  return { environment: row.environment, version: row.version, imageId: row.image_id, lastUsed: row.last_used, size: row.size, layers: JSON.parse(row.layers) as ImageRecord['layers'], isAwaited: row.is_awaited === 1 }
}

export function fromImage(image: ImageRecord): ImageRow {
  return { environment: image.environment, version: image.version, image_id: image.imageId, last_used: image.lastUsed, size: image.size, layers: JSON.stringify(image.layers), is_awaited: image.isAwaited ? 1 : 0 }
}
