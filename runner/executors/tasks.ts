import type { Execution, TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Images } from '../sync/images.ts'
import type { TaskRecord } from '../state/state.ts'
import { execute } from './execute.ts'
import type { Executor, Executors } from './executor.ts'
import { freeze } from './freeze.ts'
import { createReleases } from './releases.ts'
import type { ExecutorServices } from './services.ts'
import { createTaskRun, type TaskRun } from './task-run.ts'

/** The executions of tasks on this node. */
export interface Tasks {
  /**
   * Runs an execution. A known one starts nothing, and answers what is known of it. A higher instance of a task ends the
   * lower ones first, and they are forgotten. @throws `task.superseded`, `task.not_allowed`
   */
  accept(order: TaskOrder): Promise<TaskReport>
  /** Idempotent; one that has ended stays as it ended. @throws `task.not_found` */
  kill(execution: Execution): Promise<TaskReport>
  /** @throws `task.not_found`, `task.state` */
  pause(execution: Execution): Promise<TaskReport>
  /** @throws `task.not_found`, `task.state` */
  resume(execution: Execution): Promise<TaskReport>
  /** Takes up what an earlier Runner left. Returns at once: an Engine may be away. */
  recover(): void
  /** Reports that the Host has not acknowledged yet. */
  outbox(): TaskReport[]
  /** The Host has stored these reports. */
  acknowledge(reports: readonly TaskReport[]): void
  /** The Host does not want this execution here: it is ended and forgotten. */
  disown(execution: Execution): void
  /** Every unfinished or unacknowledged execution. */
  active(): Execution[]
  /** Tells the Host of all that is under way, as if it had never heard of it: its answer says what it does not want any more. */
  retell(): void
  /** Lets go of everything, and leaves running what runs. Resolves once nothing is under way. */
  settled(): Promise<void>
}

export interface TasksOptions {
  services: ExecutorServices
  executors: Executors
  images: Pick<Images, 'touch' | 'sweep'>
  /** Whether this node takes orders without an image. */
  takesPlain: boolean
  /** Called whenever the outbox grows; `urgent`: an execution has ended. */
  onNews(urgent: boolean): void
}

export function createTasks({ services, executors, images, takesPlain, onNews }: TasksOptions): Tasks {
  const { state, closing } = services
  const runs = new Map<string, TaskRun>()
  /** Resolves once nothing of the execution runs any more. */
  const lives = new Map<string, Promise<void>>()
  const working = new Set<Promise<void>>()
  /** Orders that are not on the disk yet. */
  const accepting = new Map<string, Promise<void>>()

  function track(work: Promise<void>): void {
    const guarded: Promise<void> = work
      .catch((error: unknown) => {
        if (!closing.aborted) console.error('[hakuriver] [runner]', error)
      })
      .finally(() => working.delete(guarded))
    working.add(guarded)
  }

  function executorOf({ image, pack }: TaskOrder): Executor {
    if (!image) return executors.plain
    return pack === null ? executors.container : executors.pack
  }

  const releases = createReleases({ state, closing, executorOf, onRemoved: () => images.sweep(), track })

  function start(record: TaskRecord, { recovered }: { recovered: boolean }): void {
    const run = createTaskRun(record, services, (changed) => onNews(isFinal(changed.report.state)))
    if (record.acknowledged === NOT_TOLD) run.abandon()
    runs.set(run.key, run)
    const life = live(run, executorOf(record.order), recovered)
    lives.set(run.key, life)
    track(life)
  }

  async function live(run: TaskRun, executor: Executor, recovered: boolean): Promise<void> {
    const { order } = run.record
    const earlierEnded = endEarlier(order)
    if (earlierEnded.length > 0) run.tell('An earlier execution of the task is being ended on this node.')
    await execute(run, executor, services, { recovered, earlierEnded: Promise.all(earlierEnded) })
    if (closing.aborted) return
    runs.delete(run.key)
    lives.delete(run.key)
    if (order.image) images.touch(order.image)
    if (run.unwanted.aborted) releases.release(run.record, { forget: true })
  }

  /** Disowns lower instances of the same task. Those that still run end each of the promises. */
  function endEarlier({ id, instance }: TaskOrder): Promise<void>[] {
    return state.ofTask(id).flatMap(({ order }) => {
      if (order.instance >= instance) return []
      const life = lives.get(executionKey(order))
      disown(order, `execution ${instance} is here`)
      return life ?? []
    })
  }

  function disown(execution: Execution, why: string): void {
    const record = state.find(execution)
    if (!record) return
    if (record.released !== null) return state.remove(execution)
    const run = runs.get(executionKey(execution))
    if (run?.unwanted.aborted) return
    console.error(`[hakuriver] [runner] execution ${execution.instance} of task ${execution.id} is ended and forgotten: ${why}`)
    if (!isFinal(record.report.state)) record.wish = 'kill'
    record.acknowledged = NOT_TOLD
    state.saveSoon(record)
    if (run) run.abandon()
    else releases.release(record, { forget: true })
  }

  function known(execution: Execution): TaskRecord {
    const record = state.find(execution)
    if (!record) throw new HakuError('task.not_found', `This node has no execution ${execution.instance} of the task ${execution.id}.`)
    return record
  }

  async function change(execution: Execution, action: 'pause' | 'resume'): Promise<TaskReport> {
    const record = known(execution)
    return freeze(record, action, { run: runs.get(executionKey(execution)), executor: executorOf(record.order) })
  }

  return {
    async accept(order) {
      const key = executionKey(order)
      const existing = state.find(order)
      if (existing) {
        await accepting.get(key)
        return existing.report
      }
      const latest = Math.max(0, ...state.ofTask(order.id).map((record) => record.order.instance))
      if (latest > order.instance) throw new HakuError('task.superseded', `This node knows execution ${latest} of the task ${order.id}: execution ${order.instance} is not started.`)
      if (!order.image && !takesPlain) throw new HakuError('task.not_allowed', 'This node runs nothing without a container. Set runner.plain_processes = true in its configuration, or give the task an environment.')
      // The answer carries the first report, and an order that got no answer comes again.
      const record: TaskRecord = { order, report: firstReport(order), acknowledged: 1, wish: 'run', isTimedOut: false, handle: null, cpus: null, released: null }
      const saved = state.save(record).finally(() => accepting.delete(key))
      accepting.set(key, saved)
      await saved.catch((error: unknown) => {
        state.remove(order)
        throw error
      })
      // The answer first: everything from here on is the Engine's time.
      setImmediate(() => {
        if (!closing.aborted) start(record, { recovered: false })
      })
      return record.report
    },

    async kill(execution) {
      const record = known(execution)
      if (isFinal(record.report.state)) return record.report
      if (record.wish !== 'kill' && !record.isTimedOut) {
        record.wish = 'kill'
        // On the disk first: nobody must find it running after the answer. A disk that is full is no reason to let it run.
        await state.save(record).catch(() => state.saveSoon(record))
      }
      runs.get(executionKey(execution))?.end()
      return record.report
    },

    pause: (execution) => change(execution, 'pause'),
    resume: (execution) => change(execution, 'resume'),

    recover() {
      releases.forgetOld()
      // A later one ends those before it, so these come first.
      for (const record of state.listActive().toSorted((left, right) => left.order.instance - right.order.instance)) {
        if (!isFinal(record.report.state)) start(record, { recovered: true })
        else if (!isPending(record)) releases.release(record, { forget: record.acknowledged === NOT_TOLD })
      }
    },

    outbox: () => state.listActive().filter(({ report, acknowledged }) => report.sequence > acknowledged).map(({ report }) => report),

    acknowledge(reports) {
      for (const { sequence, ...execution } of reports) {
        const record = state.find(execution)
        if (!record || record.released !== null || record.acknowledged >= sequence) continue
        record.acknowledged = sequence
        state.saveSoon(record)
        if (!isPending(record)) releases.release(record, { forget: false })
      }
    },

    disown: (execution) => disown(execution, 'the Host does not want it here'),

    active: () => state.listActive().filter(isPending).map(({ order: { id, instance } }) => ({ id, instance })),

    retell() {
      for (const run of runs.values()) if (!run.unwanted.aborted) run.report({})
    },

    async settled() {
      while (working.size > 0) await Promise.all(working)
    },
  }
}

// --- internal ---

/** Acknowledged up to here: nobody wants to hear of it. */
const NOT_TOLD = Number.MAX_SAFE_INTEGER

function isPending({ report, acknowledged, released }: TaskRecord): boolean {
  return released === null && (!isFinal(report.state) || report.sequence > acknowledged)
}

function firstReport({ id, instance }: TaskOrder): TaskReport {
  return { id, instance, sequence: 1, state: 'assigned', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null }
}
