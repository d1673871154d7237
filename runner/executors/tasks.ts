import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { taskContainerName } from '#core/paths.ts'
import { isFinal } from '#core/tasks/states.ts'
import { createBackoff } from '../backoff.ts'
import type { TaskRecord } from '../state/state.ts'
import { execute } from './execute.ts'
import type { ExecutorServices } from './services.ts'
import { createTaskRun, type TaskRun } from './task-run.ts'

/** The tasks of this node. */
export interface Tasks {
  /** Runs a task. A known id starts nothing, and answers what is known of it. */
  accept(order: TaskOrder): Promise<TaskReport>
  /** Idempotent; a task that has ended stays as it ended. @throws `task.not_found` */
  kill(id: string): Promise<TaskReport>
  /** @throws `task.not_found`, `task.state` */
  pause(id: string): Promise<TaskReport>
  /** @throws `task.not_found`, `task.state` */
  resume(id: string): Promise<TaskReport>
  /** Takes up what an earlier Runner left. Returns at once: the Engine may be away. */
  recover(): void
  /** Reports that the Host has not acknowledged yet. */
  outbox(): TaskReport[]
  /** The Host has stored these reports. */
  acknowledge(reports: readonly TaskReport[]): void
  /** The Host never gave us this task: it is ended and forgotten. */
  disown(id: string): void
  /** Every unfinished or unacknowledged task. */
  activeIds(): string[]
  /** Lets go of everything, and leaves containers running. Resolves once nothing is under way. */
  settled(): Promise<void>
}

/** A late repetition of an order must still find its task. */
const REMEMBER_MS = 24 * 3600 * 1000
const FORGET_INTERVAL_MS = 3600 * 1000

/** @param onNews called whenever the outbox grows; `urgent`: the task has ended */
export function createTasks(services: ExecutorServices, onNews: (urgent: boolean) => void): Tasks {
  const { engine, state, images, closing } = services
  const runs = new Map<string, TaskRun>()
  const disowned = new Set<string>()
  const working = new Set<Promise<void>>()

  function track(work: Promise<void>): void {
    const guarded: Promise<void> = work
      .catch((error: unknown) => {
        if (!closing.aborted) console.error('[hakuriver] [runner]', error)
      })
      .finally(() => working.delete(guarded))
    working.add(guarded)
  }

  function start(record: TaskRecord, options: { recovered: boolean }): void {
    const run = createTaskRun(record, services, (changed) => onNews(isFinal(changed.report.state)))
    runs.set(run.id, run)
    track(runToEnd(run, options))
  }

  async function runToEnd(run: TaskRun, options: { recovered: boolean }): Promise<void> {
    await execute(run, services, options)
    if (closing.aborted) return
    runs.delete(run.id)
    images.touch(run.record.order)
    if (disowned.has(run.id)) release(run.record)
  }

  /** Removes the container of a task whose end is known to the Host, off everybody's way. */
  function release(record: TaskRecord): void {
    track(removeContainer(record).then(() => images.sweep()))
  }

  async function removeContainer(record: TaskRecord): Promise<void> {
    const { id } = record.order
    const backoff = createBackoff({ firstMs: 500, maxMs: 60_000 })
    for (;;) {
      try {
        await engine.removeContainer(record.containerId ?? taskContainerName(id))
        break
      } catch (error) {
        if (!isHakuError(error, 'engine.unavailable')) console.error(`[hakuriver] [runner] the container of task ${id} could not be removed, trying again: ${errorMessage(error)}`)
      }
      await backoff.wait(closing)
    }
    if (disowned.delete(id)) return state.remove(id)
    record.released = new Date().toISOString()
    state.saveSoon(record)
  }

  function known(id: string): TaskRecord {
    const record = state.find(id)
    if (!record) throw new HakuError('task.not_found', `This node has no task ${id}.`)
    return record
  }

  function isPending({ report, acknowledged, released }: TaskRecord): boolean {
    return released === null && (!isFinal(report.state) || report.sequence > acknowledged)
  }

  async function freeze(id: string, action: 'pause' | 'resume'): Promise<TaskReport> {
    const record = known(id)
    const [needed, next] = action === 'pause' ? (['running', 'paused'] as const) : (['paused', 'running'] as const)
    const refuse = (cause?: unknown) => new HakuError('task.state', `The task ${id} is ${record.report.state}; only a ${needed} task can be ${action}d.`, { cause })
    if (record.report.state !== needed || record.containerId === null) throw refuse()
    try {
      await (action === 'pause' ? engine.pauseContainer(record.containerId) : engine.unpauseContainer(record.containerId))
    } catch (error) {
      if (isHakuError(error, 'engine.conflict', 'container.not_running', 'container.not_found', 'engine.failed')) throw refuse(error)
      throw error
    }
    if (record.wish !== 'kill') record.wish = action === 'pause' ? 'pause' : 'run'
    if (record.report.state === needed) runs.get(id)?.report({ state: next })
    return record.report
  }

  function forgetOld(): void {
    const oldest = new Date(Date.now() - REMEMBER_MS).toISOString()
    for (const { order, released } of state.list()) if (released !== null && released < oldest) state.remove(order.id)
  }

  return {
    async accept(order) {
      const existing = state.find(order.id)
      if (existing) return existing.report
      // The answer carries the first report, and an order that got no answer comes again.
      const record: TaskRecord = { order, report: firstReport(order.id), acknowledged: 1, wish: 'run', containerId: null, released: null }
      await state.save(record).catch((error: unknown) => {
        state.remove(order.id)
        throw error
      })
      // The answer first: everything from here on is the Engine's time.
      setImmediate(() => {
        if (!closing.aborted) start(record, { recovered: false })
      })
      return record.report
    },

    async kill(id) {
      const record = known(id)
      if (isFinal(record.report.state) || record.wish === 'kill') return record.report
      record.wish = 'kill'
      await state.save(record)
      runs.get(id)?.kill()
      return record.report
    },

    pause: (id) => freeze(id, 'pause'),
    resume: (id) => freeze(id, 'resume'),

    recover() {
      forgetOld()
      const forgetting = setInterval(forgetOld, FORGET_INTERVAL_MS)
      closing.addEventListener('abort', () => clearInterval(forgetting), { once: true })
      for (const record of state.list()) {
        if (!isFinal(record.report.state)) start(record, { recovered: true })
        else if (record.released === null && !isPending(record)) release(record)
      }
    },

    outbox: () => state.list().filter((record) => isPending(record) && record.report.sequence > record.acknowledged).map(({ report }) => report),

    acknowledge(reports) {
      for (const { id, sequence } of reports) {
        const record = state.find(id)
        if (!record || record.released !== null || record.acknowledged >= sequence) continue
        record.acknowledged = sequence
        state.saveSoon(record)
        if (isFinal(record.report.state) && !isPending(record)) release(record)
      }
    },

    disown(id) {
      const record = state.find(id)
      if (!record || disowned.has(id)) return
      console.error(`[hakuriver] [runner] the Host does not know task ${id}: it is ended and forgotten`)
      disowned.add(id)
      record.wish = 'kill'
      // Nobody wants to hear of it any more.
      record.acknowledged = Number.MAX_SAFE_INTEGER
      state.saveSoon(record)
      const run = runs.get(id)
      if (run) run.kill()
      else release(record)
    },

    activeIds: () => state.list().filter(isPending).map(({ order }) => order.id),

    async settled() {
      while (working.size > 0) await Promise.all(working)
    },
  }
}

// --- internal ---

function firstReport(id: string): TaskReport {
  return { id, sequence: 1, state: 'assigned', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null }
}
