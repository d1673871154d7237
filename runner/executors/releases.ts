import type { TaskOrder } from '#core/api/schemas.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { createBackoff } from '../backoff.ts'
import type { RunnerState, TaskRecord } from '../state/state.ts'
import type { Executor } from './executor.ts'

/** What comes after the end of an execution that the Host knows of: its container goes, its record stays a while. */
export interface Releases {
  /** Removes what is left of it, off everybody's way. `forget`: its record goes too. Idempotent. */
  release(record: TaskRecord, options: { forget: boolean }): void
  /** Forgets what was released long ago, now and from time to time. */
  forgetOld(): void
}

export interface ReleaseOptions {
  state: Pick<RunnerState, 'list' | 'saveSoon' | 'remove'>
  closing: AbortSignal
  executorOf(order: TaskOrder): Pick<Executor, 'remove'>
  onRemoved(): Promise<void>
  /** Takes care of work in the background. */
  track(work: Promise<void>): void
}

/** A late repetition of an order must still find its execution. */
const REMEMBER_MS = 24 * 3600 * 1000
/** And that is long enough for those before the last so many. */
const REMEMBER_COUNT = 10_000
const FORGET_INTERVAL_MS = 3600 * 1000

export function createReleases({ state, closing, executorOf, onRemoved, track }: ReleaseOptions): Releases {
  const leaving = new Set<string>()
  /** Records that were released, the oldest first. */
  const released = new Map<string, TaskRecord>()

  async function remove(record: TaskRecord, forget: boolean): Promise<void> {
    const { order } = record
    const backoff = createBackoff({ firstMs: 500, maxMs: 60_000 })
    for (;;) {
      try {
        await executorOf(order).remove(record)
        break
      } catch (error) {
        if (!isHakuError(error, 'engine.unavailable')) console.error(`[hakuriver] [runner] what is left of task ${order.id} could not be removed, trying again: ${errorMessage(error)}`)
      }
      await backoff.wait(closing)
    }
    leaving.delete(executionKey(order))
    if (forget) state.remove(order)
    else remember(record, new Date().toISOString())
    await onRemoved()
  }

  function remember(record: TaskRecord, at: string): void {
    record.released = at
    state.saveSoon(record)
    released.set(executionKey(record.order), record)
    const [oldest] = released.values()
    if (released.size > REMEMBER_COUNT && oldest) drop(oldest)
  }

  function drop(record: TaskRecord): void {
    released.delete(executionKey(record.order))
    state.remove(record.order)
  }

  function forgetBefore(time: string): void {
    for (const record of released.values()) {
      if ((record.released ?? '') >= time) return
      drop(record)
    }
  }

  return {
    release(record, { forget }) {
      const key = executionKey(record.order)
      if (leaving.has(key)) return
      leaving.add(key)
      track(remove(record, forget))
    },

    forgetOld() {
      const old = state.list().filter((record) => record.released !== null)
      for (const record of old.toSorted((left, right) => ((left.released ?? '') < (right.released ?? '') ? -1 : 1))) released.set(executionKey(record.order), record)
      const forget = () => forgetBefore(new Date(Date.now() - REMEMBER_MS).toISOString())
      forget()
      const forgetting = setInterval(forget, FORGET_INTERVAL_MS)
      closing.addEventListener('abort', () => clearInterval(forgetting), { once: true })
    },
  }
}
