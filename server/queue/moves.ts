import type { MoveBody } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Nodes } from '../nodes/nodes.ts'
import { createTurns } from '../turns.ts'
import { assertFits, requestOf } from './check-submission.ts'
import { asked, nameOf } from './controls.ts'
import { isWaiting } from './live-tasks.ts'
import { batchIdOf, type TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Changes of a place in the queue. */
export interface Moves {
  /** Moves a task, or all of a batch that waits. @throws see `hostApi.moveTask` */
  move(id: string, body: MoveBody, by: string): Promise<TaskRecord>
}

export function createMoves({ store, nodes }: { store: TaskStore; nodes: Pick<Nodes, 'list' | 'find'> }): Moves {
  /** Moves are decided one after the other: each looks at the order that the one before it left. */
  const turns = createTurns()

  async function assertWaits(id: string): Promise<TaskRecord> {
    const task = await store.get(id)
    if (isFinal(task.state)) throw new HakuError('task.finished', `The ${nameOf(task)} has already ended: ${task.state}.`)
    if (!isWaiting(task) && waitingItems(task).length === 0) throw new HakuError('task.state', `The ${nameOf(task)} is ${task.state}; only what waits has a place in the queue.`)
    return task
  }

  function waitingItems(task: TaskRecord): TaskRecord[] {
    return task.items ? store.live.itemsOf(task.id).filter(isWaiting) : []
  }

  /** Where in the queue, and with which priority. */
  async function placeOf(task: TaskRecord, { to, priority = task.priority }: MoveBody): Promise<Pick<TaskRecord, 'priority' | 'rank'>> {
    if (to === undefined) return { priority, rank: task.rank }
    const others = store.live.waiting().filter(({ id, batch }) => id !== task.id && batch !== task.id)
    if (to === 'last') return { priority, rank: store.nextNumber() }
    if (to === 'first') return { priority, rank: others.reduce((least, other) => (other.priority === priority ? Math.min(least, other.rank) : least), store.nextNumber()) - 1 }
    const next = await assertWaits(to.before)
    // An item without a row is where its batch is.
    const place = others.findIndex(({ id }) => id === next.id || id === batchIdOf(next.id))
    const behind = others[place]
    if (!behind) return { priority: task.priority, rank: task.rank }
    return { priority: behind.priority, rank: await rankBefore(others, place) }
  }

  /** A rank between two neighbours. Where numbers have no room between them, all that are ahead go one step forward. */
  async function rankBefore(others: readonly TaskRecord[], place: number): Promise<number> {
    const behind = others[place]
    const ahead = others[place - 1]
    if (!behind) return store.nextNumber()
    if (!ahead || ahead.priority !== behind.priority) return behind.rank - 1
    const middle = (ahead.rank + behind.rank) / 2
    if (middle > ahead.rank && middle < behind.rank) return middle
    const forward = others.slice(0, place).filter(({ priority }) => priority === behind.priority)
    await Promise.all(forward.map(({ id }) => store.update(id, ({ rank }) => ({ rank: rank - 1 }), 'host')))
    return behind.rank - 0.5
  }

  async function move(id: string, body: MoveBody, by: string): Promise<TaskRecord> {
    const task = await assertWaits(id)
    const { target } = body
    if (target !== undefined) assertFits(requestOf(task, target), nodes)
    const place = await placeOf(task, body)
    const message = [place.priority !== task.priority && `priority ${place.priority}`, body.to !== undefined && place.rank !== task.rank && 'another place', target !== undefined && `target ${target ?? 'any'}`].filter((word) => word !== false).join(', ')
    const change = (record: TaskRecord): Partial<TaskRecord> | undefined => (isWaiting(record) || record.id === id ? { ...asked(record, 'move', by, message), ...place, ...(target !== undefined && { target }) } : undefined)
    const moved = await store.update(id, (record) => (isFinal(record.state) || (record.items === null && !isWaiting(record)) ? undefined : change(record)), by)
    await Promise.all(waitingItems(moved).map((item) => store.update(item.id, change, by)))
    return moved
  }

  return { move: (id, body, by) => turns.take('moves', () => move(id, body, by)) }
}
