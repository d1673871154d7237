import type { EventEmitter } from 'node:events'
import type { Kysely } from 'kysely'
import type { Task } from '#core/api/schemas.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'
import { createLanes } from './lanes.ts'
import { postJson } from './post.ts'

/** Posts tasks that have ended to the URLs that their submitters named. Whoever does not answer keeps nobody else waiting. */
export interface Notifications {
  /** Stops. What was not delivered is tried again by the next Host. */
  close(): Promise<void>
}

type Watched = Pick<Task, 'id' | 'state' | 'batch' | 'notifyUrl'>

export interface NotifyingEvents {
  change: [Watched, Watched]
  added: [readonly Watched[]]
}

export interface NotificationsOptions {
  database: Kysely<Tables>
  /** `change`: each task and batch as it is after each of its changes, and as it was before. `added`: what was submitted. */
  changes: Pick<EventEmitter<NotifyingEvents>, 'on' | 'off'>
  /** All that have not ended. */
  active(): Iterable<Watched>
  /** What is posted. @throws `task.not_found` */
  get(id: string): Promise<Task>
  /** Puts a sentence into the history of a task. */
  note(id: string, message: string): Promise<void>
  /** Between two tries, in milliseconds; after the last one it is given up. */
  pausesMs?: readonly number[]
  timeoutMs?: number
}

/** Ten tries, within an hour. */
const PAUSES_MS = [2, 10, 30, 60, 120, 300, 600, 900, 1200].map((seconds) => seconds * 1000)
const TIMEOUT_MS = 10_000
/** So many at a time to each server. */
const LANE_WIDTH = 4

/** Goes on with what an earlier Host left. */
export async function createNotifications(options: NotificationsOptions): Promise<Notifications> {
  const { database, changes, pausesMs = PAUSES_MS, timeoutMs = TIMEOUT_MS } = options
  const closing = new AbortController()
  const lanes = createLanes(LANE_WIDTH)
  const timers = new Map<string, NodeJS.Timeout>()
  const underWay = new Set<Promise<void>>()
  const rows = await database.selectFrom('notifications').selectAll().execute()
  const promised = new Map<string, Promised>(rows.map(({ task, tries }) => [task, { tries }]))

  async function keep(task: string, promise: Promised, due: string | null): Promise<void> {
    promised.set(task, promise)
    const { tries } = promise
    await database.insertInto('notifications').values({ task, tries, due }).onConflict((conflict) => conflict.column('task').doUpdateSet({ tries, due })).execute()
  }

  /** Unless another end of the task has been promised meanwhile. */
  async function forget(task: string, promise: Promised | undefined): Promise<void> {
    if (promised.get(task) !== promise) return
    promised.delete(task)
    await database.deleteFrom('notifications').where('task', '=', task).execute()
  }

  async function failed(id: string, promise: Promised | undefined, what: string): Promise<void> {
    if (promised.get(id) !== promise) return
    const tries = (promise?.tries ?? 0) + 1
    const pauseMs = pausesMs[tries - 1]
    if (pauseMs === undefined) await forget(id, promise)
    else {
      await keep(id, { tries }, new Date(Date.now() + pauseMs).toISOString())
      schedule(id, pauseMs)
    }
    if (tries > 1 && pauseMs !== undefined) return
    const message = `${what}. ${pauseMs === undefined ? `Given up after ${tries} tries` : 'It is tried again'}.`
    console.error(`[hakuriver] [notify] task ${id}: ${message}`)
    await options.note(id, message)
  }

  async function deliver(id: string): Promise<void> {
    const promise = promised.get(id)
    const task = await options.get(id)
    const { notifyUrl } = task
    // It was lost and is back, or is executed once more: its next end is told.
    if (!isFinal(task.state) || notifyUrl === null) return keep(id, { tries: 0 }, null)
    const { origin } = new URL(notifyUrl)
    try {
      await lanes.run(origin, () => postJson(notifyUrl, JSON.stringify(task), { timeoutMs, signal: closing.signal }))
    } catch (error) {
      if (closing.signal.aborted) return
      return failed(id, promise, `${origin} could not be told of the end: ${errorMessage(error)}`)
    }
    await forget(id, promise)
  }

  async function deliverSafely(id: string): Promise<void> {
    try {
      await deliver(id)
    } catch (error) {
      if (isHakuError(error, 'task.not_found')) return forget(id, promised.get(id)).catch(() => undefined)
      console.error(`[hakuriver] [notify] task ${id}: ${errorMessage(error)}`)
      schedule(id, TROUBLE_MS)
    }
  }

  function schedule(id: string, ms: number): void {
    clearTimeout(timers.get(id))
    if (closing.signal.aborted) return
    timers.set(id, setTimeout(() => {
      timers.delete(id)
      track(deliverSafely(id))
    }, ms))
  }

  /** A stop waits for it. */
  function track(work: Promise<void>): void {
    const tracked = work.finally(() => underWay.delete(tracked))
    underWay.add(tracked)
  }

  function promiseToTell(id: string, due: string | null): void {
    track(keep(id, { tries: 0 }, due).catch((error: unknown) => console.error(`[hakuriver] [notify] that ${id} is to be told could not be stored: ${errorMessage(error)}`)))
  }

  /** On the disk while the task goes on: its end may be the last thing that this Host sees. Of a batch the whole is told, not each item. */
  function watch({ id, state, batch, notifyUrl }: Watched): void {
    if (notifyUrl !== null && batch === null && !isFinal(state) && !promised.has(id)) promiseToTell(id, null)
  }

  function onChange(after: Watched, before: Watched): void {
    watch(after)
    if (after.notifyUrl === null || after.batch !== null || !isFinal(after.state) || after.state === before.state) return
    promiseToTell(after.id, new Date().toISOString())
    schedule(after.id, 0)
  }

  const onAdded = (added: readonly Watched[]) => added.forEach(watch)

  const live = new Set<string>()
  for (const task of options.active()) {
    live.add(task.id)
    watch(task)
  }
  changes.on('change', onChange)
  changes.on('added', onAdded)
  for (const { task, due } of rows) {
    if (live.has(task)) continue
    // The clock may have been set meanwhile.
    const waitMs = due === null ? 0 : Date.parse(due) - Date.now()
    schedule(task, Math.min(Math.max(0, waitMs), Math.max(...pausesMs)))
  }

  return {
    async close() {
      closing.abort()
      changes.off('change', onChange)
      changes.off('added', onAdded)
      for (const timer of timers.values()) clearTimeout(timer)
      await Promise.all(underWay)
    },
  }
}

// --- internal ---

/** One end of a task that somebody is to be told of. */
interface Promised {
  /** That failed. */
  tries: number
}

/** After trouble of our own. */
const TROUBLE_MS = 60_000
