import type { TaskEvent } from '#core/api/schemas.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { holdsResources, isFinal } from '#core/tasks/states.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import { addEvent } from './events.ts'
import { isWaiting } from './live-tasks.ts'
import { judgeReport } from './reports.ts'
import type { TaskRecord, UnplacedEnd } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** What a user asks of a task, an item, or all items of a batch that this makes sense for. */
export interface Controls {
  kill(id: string, by: string): Promise<TaskRecord>
  /** Ends what was given to no node yet; all else is left as it is. */
  end(id: string, how: QueuedEnd, by: string): Promise<TaskRecord>
  hold(id: string, by: string): Promise<TaskRecord>
  release(id: string, by: string): Promise<TaskRecord>
  pause(id: string, by: string): Promise<TaskRecord>
  resume(id: string, by: string): Promise<TaskRecord>
}

export interface QueuedEnd extends Pick<TaskRecord, 'reason' | 'message'> {
  state: UnplacedEnd
}

const freezing = {
  pause: { needed: 'running', wish: 'pause' },
  resume: { needed: 'paused', wish: 'run' },
} as const

export function createControls({ store, dispatcher }: { store: TaskStore; dispatcher: Pick<Dispatcher, 'pause' | 'resume'> }): Controls {
  async function assertLive(id: string): Promise<TaskRecord> {
    const task = await store.get(id)
    if (isFinal(task.state) && task.state !== 'lost') throw new HakuError('task.finished', `The ${nameOf(task)} has already ended: ${task.state}${task.exitCode === null ? '' : `, exit code ${task.exitCode}`}.`)
    return task
  }

  async function end(id: string, how: QueuedEnd, by: string): Promise<TaskRecord> {
    const finished = new Date().toISOString()
    const task = await store.update(id, (record) => {
      if (record.items) return record.items.pending.length === 0 ? undefined : { reason: how.reason, message: how.message, items: { ...record.items, pending: [], unplaced: how.state } }
      return record.state === 'queued' ? { ...how, ...(how.state === 'killed' && { wish: 'kill' }), finished } : undefined
    }, by)
    if (!task.items) return task
    await Promise.all(store.live.itemsOf(id).map((item) => end(item.id, how, by)))
    return store.getSettled(id)
  }

  async function kill(id: string, by: string): Promise<TaskRecord> {
    await assertLive(id)
    const finished = new Date().toISOString()
    const task = await store.update(id, (record) => {
      if (isFinal(record.state) && record.state !== 'lost') return undefined
      if (record.items) return { ...asked(record, 'kill', by), wish: 'kill', reason: 'user', items: { ...record.items, pending: [], unplaced: record.items.pending.length > 0 ? 'killed' : record.items.unplaced } }
      if (record.state === 'queued') return { state: 'killed', wish: 'kill', reason: 'user', message: null, finished }
      return record.wish === 'kill' ? undefined : { ...asked(record, 'kill', by), wish: 'kill' }
    }, by)
    if (!task.items) return task
    await killItems(id, by)
    return store.getSettled(id)
  }

  /** A batch that was killed gives its items no rest, whatever hinders the Host. */
  function killItems(batchId: string, by: string): Promise<void> {
    return store.untilWritten(`that the items of batch ${batchId} are to end could not be stored`, async () => {
      const { wish, number } = await store.get(batchId)
      // Some were retried meanwhile.
      if (wish !== 'kill') return
      // Those that are lost are ended when they come back.
      const lost = await store.queries.itemsIn(number, ['lost'])
      await Promise.all([...store.live.itemsOf(batchId).map((item) => item.id), ...lost].map((item) => kill(item, by).catch(ignoreFinished)))
    })
  }

  async function changeWish(id: string, { from, to, event, by }: { from: 'run' | 'hold'; to: 'run' | 'hold'; event: TaskEvent['event']; by: string }): Promise<TaskRecord> {
    const before = await assertLive(id)
    const isOne = (task: TaskRecord) => isWaiting(task) && task.wish === from
    const items = before.items ? store.live.itemsOf(id).filter(isOne) : []
    if (!isOne(before) && items.length === 0) {
      if (isWaiting(before) && to === 'hold') return before
      throw new HakuError('task.state', to === 'hold' ? `The ${nameOf(before)} is ${before.state}; only what waits can be held.` : `The ${nameOf(before)} is not held: it is ${before.state}.`)
    }
    const change = (record: TaskRecord) => (isOne(record) ? { ...asked(record, event, by), wish: to } : undefined)
    const task = await store.update(id, change, by)
    await Promise.all(items.map((item) => store.update(item.id, change, by)))
    return task
  }

  async function freezeOne(task: TaskRecord, action: 'pause' | 'resume', by: string): Promise<TaskRecord> {
    const { needed, wish } = freezing[action]
    const { node, instance } = task
    if (task.state !== needed || node === null) throw new HakuError('task.state', `The ${nameOf(task)} is ${task.state}; only a ${needed} task can be ${action}d.`)
    const report = await dispatcher[action](node, { id: task.id, instance })
    return store.update(task.id, (record) => {
      const verdict = judgeReport(record, node, report)
      const seen = typeof verdict === 'object' ? verdict : {}
      // It may have ended before the node could do it, and wait for its next execution.
      const isMeant = record.instance === instance && record.wish !== 'kill' && holdsResources(seen.state ?? record.state)
      return isMeant ? { ...asked(record, action, by), ...seen, wish } : seen
    }, `node ${node}`)
  }

  /** Of a batch, all that are as it takes: each is tried, and what did not go is told. */
  async function freeze(id: string, action: 'pause' | 'resume', by: string): Promise<TaskRecord> {
    const task = await assertLive(id)
    if (!task.items) return freezeOne(task, action, by)
    const items = store.live.itemsOf(id).filter(({ state }) => state === freezing[action].needed)
    if (items.length === 0) throw new HakuError('task.state', `No item of the batch ${id} is ${freezing[action].needed}, so none can be ${action}d.`)
    const results = await Promise.allSettled(items.map((item) => freezeOne(item, action, by)))
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    const [first] = failures
    if (isHakuError(first)) throw new HakuError(first.code, `${failures.length} of ${items.length} items could not be ${action}d; the others were. ${first.message}`, { cause: first })
    if (first !== undefined) throw first
    return store.get(id)
  }

  // An earlier Host may have ended between the batch and its items.
  for (const { id, items, wish } of store.live.values()) if (items && wish === 'kill') void killItems(id, 'host')

  return {
    kill,
    end,
    hold: (id, by) => changeWish(id, { from: 'run', to: 'hold', event: 'hold', by }),
    release: (id, by) => changeWish(id, { from: 'hold', to: 'run', event: 'release', by }),
    pause: (id, by) => freeze(id, 'pause', by),
    resume: (id, by) => freeze(id, 'resume', by),
  }
}

/** The event of what somebody asked for. */
export function asked(task: TaskRecord, event: TaskEvent['event'], by: string, message: string | null = null): Pick<TaskRecord, 'events'> {
  return { events: addEvent(task.events, { time: new Date().toISOString(), event, by, instance: task.instance, node: task.node, message }) }
}

export function nameOf({ items, id }: TaskRecord): string {
  return `${items ? 'batch' : 'task'} ${id}`
}

// --- internal ---

/** It ended by itself at that moment. */
function ignoreFinished(error: unknown): void {
  if (!isHakuError(error, 'task.finished')) throw error
}
