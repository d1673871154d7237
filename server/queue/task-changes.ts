import type { TaskEvent } from '#core/api/schemas.ts'
import { isFinal } from '#core/tasks/states.ts'
import { addEvent } from './events.ts'
import type { TaskRecord, TaskSpec } from './task-record.ts'
import type { TaskChange } from './task-writes.ts'

/** What a change of a task comes to. */

/** Whether it is to be stored. */
export function isWorthStoring(before: TaskRecord, after: TaskRecord): boolean {
  return keptFields.some((field) => before[field] !== after[field])
}

/** What a row that came to be was before: it waited, and had none. */
export function itemBefore(item: TaskRecord): TaskRecord {
  return { ...item, hasRow: false, state: 'queued', node: null, instance: 0, finished: null }
}

export function withStateEvent(before: TaskRecord, after: TaskRecord, by: string): TaskRecord {
  if (before.state === after.state) return after
  const { exitCode } = after
  const message = after.message ?? (exitCode === null || exitCode === 0 ? null : `exit code ${exitCode}`)
  const event: TaskEvent = { time: new Date().toISOString(), event: after.state, by, instance: after.instance, node: after.node, message }
  return { ...after, events: addEvent(after.events, event) }
}

/**
 * Whether somebody relies on the change from now on: who asked for it, a node that forgets what was taken in, a node that is given
 * the task. All else is told again.
 */
export function isPromise({ before, after }: TaskChange): boolean {
  return isFinal(after.state) || !before || before.state === 'queued' || after.state === 'queued' || before.wish !== after.wish || before.events.at(-1) !== after.events.at(-1) && after.events.at(-1)?.by.startsWith('user') === true
}

// --- internal ---

/** What never changes. */
type FixedKey = keyof TaskSpec | 'id' | 'number' | 'batch' | 'index' | 'variables' | 'hasRow' | 'environment' | 'version' | 'submitter' | 'submitted'

/**
 * A change of anything else is not worth a write: that a node has taken its order. A Host that was started again and does not know gives the order
 * again, and hears the present.
 */
const isWorthAWrite = {
  state: true, wish: true, reason: true, message: true, exitCode: true, instance: true, node: true, target: true, priority: true, rank: true, retriesLeft: true, notBefore: true, gpuIds: true, numaNode: true,
  started: true, finished: true, stdoutBytes: true, stderrBytes: true, items: true, events: true, sequence: false, sync: false,
} satisfies Record<Exclude<keyof TaskRecord, FixedKey>, boolean>
const keptFields = (Object.keys(isWorthAWrite) as (keyof typeof isWorthAWrite)[]).filter((field) => isWorthAWrite[field])

