import { hasIndex, positionOf, withoutIndex } from '#core/tasks/index-set.ts'
import { variablesOf } from '#core/tasks/items.ts'
import { type BatchRecord, itemId, type TaskRecord } from './task-record.ts'

/** Items of a batch: until one is given to a node, it has no row, and is only what its batch tells of it. */

/** An item without a row, as it would be; `undefined`: the batch has none with this id. */
export function itemOf(batch: TaskRecord, id: string): TaskRecord | undefined {
  const { items } = batch
  const index = Number(id.slice(batch.id.length + 1))
  if (!items || itemId(batch.id, index) !== id || !hasIndex(items.indexes, index)) return undefined
  const waiting = makeItem(batch, items, index)
  if (hasIndex(items.pending, index)) return waiting
  return { ...waiting, state: items.unplaced ?? 'killed', wish: 'kill', reason: batch.reason === 'dependency' ? 'dependency' : 'user', message: batch.reason === 'dependency' ? batch.message : null, finished: batch.finished ?? batch.events.at(-1)?.time ?? null }
}

/** An item that waits, and has no row yet. */
export function makeItem(batch: TaskRecord, items: BatchRecord, index: number): TaskRecord {
  return {
    ...batch,
    id: itemId(batch.id, index),
    number: batch.number - items.size + positionOf(items.indexes, index),
    hasRow: false,
    batch: batch.id,
    index,
    variables: variablesOfItem(batch, items, index),
    items: null,
    state: 'queued',
    wish: batch.wish === 'hold' ? 'hold' : 'run',
    reason: null,
    message: null,
    exitCode: null,
    instance: 0,
    node: null,
    retriesLeft: batch.retries,
    gpuIds: [],
    numaNode: null,
    sync: null,
    started: null,
    finished: null,
    sequence: 0,
    stdoutBytes: null,
    stderrBytes: null,
    events: batch.events.slice(0, 1),
  }
}

/** The batch once this item has a row. */
export function withoutPending(batch: TaskRecord, index: number): Partial<TaskRecord> {
  return batch.items ? { items: { ...batch.items, pending: withoutIndex(batch.items.pending, index) } } : {}
}

// --- internal ---

function variablesOfItem({ kind }: TaskRecord, { source }: BatchRecord, index: number): Record<string, string> {
  if (kind === 'array') return { index: String(index) }
  return source ? variablesOf(source, index) : {}
}
