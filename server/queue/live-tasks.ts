import { isFinal, mayComeBack } from '#core/tasks/states.ts'
import { createReservations, type Reservations } from './reservations.ts'
import type { TaskRecord } from './task-record.ts'

/** Everything that has not ended, or may come back, in memory, by whatever it is looked for. */
export interface LiveTasks {
  get(id: string): TaskRecord | undefined
  values(): IterableIterator<TaskRecord>
  /** Takes in a task as it is now; one that has ended goes. */
  put(before: TaskRecord | undefined, after: TaskRecord): void
  /** Tasks, items and batches of which something waits for a place, in the order of the queue. */
  waiting(): TaskRecord[]
  /** What a node was given. */
  onNode(hostname: string): TaskRecord[]
  /** What was lost with a node, and may come back with it. */
  lostOn(hostname: string): TaskRecord[]
  /** Whether a task, or an item of a batch, may come back with its node. */
  hasLost(id: string): boolean
  /** Items of a batch that may come back with their nodes. */
  lostOf(batchId: string): TaskRecord[]
  /** Items that have a row. */
  itemsOf(batchId: string): TaskRecord[]
  reservations: Reservations
}

export function createLiveTasks(): LiveTasks {
  const tasks = new Map<string, TaskRecord>()
  const byNode = new Map<string, Set<string>>()
  const byBatch = new Map<string, Set<string>>()
  const lost = new Map<string, TaskRecord>()
  const lostByNode = new Map<string, Set<string>>()
  const lostByBatch = new Map<string, Set<string>>()
  const reservations = createReservations()
  /** In their order, and some that wait no longer. Each is reached without looking it up: the queue is gone through again and again. */
  let queue: InQueue[] = []
  const inQueue = new Map<string, InQueue>()
  let isSorted = true

  function enqueue(after: TaskRecord): void {
    const known = inQueue.get(after.id)
    if (known) {
      if (compareInQueue(known.record, after) !== 0) isSorted = false
      known.record = after
      return
    }
    if (!isWaiting(after)) return
    const last = queue.at(-1)
    if (last && compareInQueue(last.record, after) > 0) isSorted = false
    const entry = { record: after }
    queue.push(entry)
    inQueue.set(after.id, entry)
  }

  return {
    reservations,
    get: (id) => tasks.get(id),
    values: () => tasks.values(),
    put(before, after) {
      const { id } = after
      if (isFinal(after.state)) tasks.delete(id)
      else tasks.set(id, after)
      index(byNode, before && nodeOf(before), nodeOf(after), id)
      if (mayComeBack(after)) lost.set(id, after)
      else lost.delete(id)
      index(lostByNode, before && lostNodeOf(before), lostNodeOf(after), id)
      index(lostByBatch, before && lostBatchOf(before), lostBatchOf(after), id)
      index(byBatch, before && liveBatchOf(before), liveBatchOf(after), id)
      reservations.change(before, after)
      enqueue(after)
    },
    waiting() {
      const still = queue.filter(({ record }) => isWaiting(record))
      if (still.length < queue.length) for (const { record } of queue) if (!isWaiting(record)) inQueue.delete(record.id)
      if (!isSorted) still.sort((left, right) => compareInQueue(left.record, right.record))
      queue = still
      isSorted = true
      return still.map(({ record }) => record)
    },
    onNode: (hostname) => records(tasks, byNode.get(hostname)),
    lostOn: (hostname) => records(lost, lostByNode.get(hostname)),
    hasLost: (id) => lost.has(id) || lostByBatch.has(id),
    lostOf: (batchId) => records(lost, lostByBatch.get(batchId)),
    itemsOf: (batchId) => records(tasks, byBatch.get(batchId)),
  }
}

/** Whether something of it waits for a place. */
export function isWaiting({ state, items }: TaskRecord): boolean {
  return items === null ? state === 'queued' : !isFinal(state) && items.pending.length > 0
}

// --- internal ---

interface InQueue {
  /** As it is now. */
  record: TaskRecord
}

function nodeOf({ node, state }: TaskRecord): string | undefined {
  return node === null || isFinal(state) ? undefined : node
}

function lostNodeOf(record: TaskRecord): string | undefined {
  return mayComeBack(record) ? (record.node ?? undefined) : undefined
}

function lostBatchOf(record: TaskRecord): string | undefined {
  return mayComeBack(record) ? (record.batch ?? undefined) : undefined
}

function liveBatchOf({ batch, state }: TaskRecord): string | undefined {
  return batch === null || isFinal(state) ? undefined : batch
}

function index(sets: Map<string, Set<string>>, before: string | undefined, after: string | undefined, id: string): void {
  if (before === after) return
  if (before !== undefined) {
    const set = sets.get(before)
    set?.delete(id)
    if (set?.size === 0) sets.delete(before)
  }
  if (after !== undefined) sets.set(after, (sets.get(after) ?? new Set()).add(id))
}

function records(tasks: ReadonlyMap<string, TaskRecord>, ids: ReadonlySet<string> | undefined): TaskRecord[] {
  return [...(ids ?? [])].flatMap((id) => tasks.get(id) ?? [])
}

/** Who is ahead in the queue: negative if `left` is. */
function compareInQueue(left: TaskRecord, right: TaskRecord): number {
  return right.priority - left.priority || left.rank - right.rank || left.number - right.number
}
