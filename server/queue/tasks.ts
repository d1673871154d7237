import type { Execution, MoveBody, Node, RerunBody, SubmitBody, SubmitPreview, Task, TaskDetails, TaskQuery, TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { countIndexes } from '#core/tasks/index-set.ts'
import { holdsResources, isFinal, mayComeBack } from '#core/tasks/states.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { VersionMarks } from '../environments/marks.ts'
import type { Verifications } from '../environments/verifications.ts'
import type { Versions } from '../environments/versions.ts'
import { type NodeRecord, toNode } from '../nodes/node-record.ts'
import type { Nodes } from '../nodes/nodes.ts'
import type { Plan, PlanInput } from '../scheduler/types.ts'
import { checkSubmission } from './check-submission.ts'
import { createControls } from './controls.ts'
import { createDeliveries } from './deliveries.ts'
import { createDependencies } from './dependencies.ts'
import { byUser } from './events.ts'
import { isWaiting } from './live-tasks.ts'
import { createVersionLoads } from './load-bytes.ts'
import { createMoves } from './moves.ts'
import { watchNodes } from './node-watch.ts'
import { createPlacing } from './placing.ts'
import { previewSubmission } from './preview.ts'
import { takeReports } from './reports.ts'
import { repetitionOf } from './rerun.ts'
import { retryTask } from './retry-task.ts'
import { createSubmissions } from './submissions.ts'
import type { TaskRecord } from './task-record.ts'
import { type TaskRules, toOrder } from './task-rules.ts'
import type { TaskStore } from './task-store.ts'
import { toDetails, toTask } from './task-view.ts'
import { createEndings } from './endings.ts'

/** The queue. `user`: who asks, for people; empty if nobody told. */
export interface Tasks {
  /** Everything is checked before anything is created. @throws see `hostApi.submitTask` */
  submit(body: SubmitBody, user?: string): Promise<{ tasks: Task[] }>
  /** What a submission would come to; nothing is stored. @throws as `submit` */
  preview(body: SubmitBody): Promise<SubmitPreview>
  /** Holds the answer until the task has ended, for `waitSeconds` at most. @throws `task.not_found` */
  get(id: string, waitSeconds?: number, signal?: AbortSignal): Promise<TaskDetails>
  list(query: TaskQuery): Promise<{ items: Task[]; nextCursor: string | null }>
  /** @throws `task.not_found`, `task.finished` */
  kill(id: string, user?: string): Promise<Task>
  /** Fails a task that was given to no node yet, with a sentence for people. @throws `task.not_found`, `version.needed` once a node was given it */
  failQueued(id: string, message: string): Promise<void>
  /** @throws `task.not_found`, `task.finished`, `task.state`, `node.unreachable` */
  pause(id: string, user?: string): Promise<Task>
  resume(id: string, user?: string): Promise<Task>
  /** @throws `task.not_found`, `task.finished`, `task.state` */
  hold(id: string, user?: string): Promise<Task>
  release(id: string, user?: string): Promise<Task>
  /** @throws see `hostApi.moveTask` */
  move(id: string, body: MoveBody, user?: string): Promise<Task>
  /** @throws see `hostApi.retryTask` */
  retry(id: string, user?: string): Promise<Task>
  /** @throws see `hostApi.rerunTask` */
  rerun(id: string, body: RerunBody, user?: string): Promise<{ tasks: Task[] }>
  /** Takes in what a Runner saw. */
  report(hostname: string, instanceId: string, reports: TaskReport[]): Promise<{ acknowledged: Execution[]; unknown: Execution[] }>
  /** A node with what tasks have reserved on it. */
  toNode(record: NodeRecord): Node
  /** What a plan would be made of now, and the last one, if there was any. */
  planInput(): PlanInput
  plan(): Plan | undefined
  close(): void
}

export interface TasksOptions {
  store: TaskStore
  nodes: Nodes
  versions: Pick<Versions, 'use' | 'resolve' | 'details'>
  marks: Pick<VersionMarks, 'get'>
  verifications: Pick<Verifications, 'suspect' | 'events'>
  dispatcher: Dispatcher
  rules: TaskRules
}

/** Starts at once with what an earlier Host left unfinished. */
export function createTasks({ store, nodes, versions, marks, verifications, dispatcher, rules }: TasksOptions): Tasks {
  const guard = (work: Promise<unknown>) => void work.catch((error: unknown) => console.error('[hakuriver] [queue]', error))
  const controls = createControls({ store, dispatcher })
  const loads = createVersionLoads({ nodes, details: versions.details })
  const dependencies = createDependencies({ store, onFree: () => placing.soon(), fail: (id, message) => controls.end(id, { state: 'failed', reason: 'dependency', message }, 'host') })
  const placing = createPlacing({ store, nodes, loads, marks, verifications, dependencyOf: dependencies.reasonOf, fail: (id, message) => controls.end(id, { state: 'failed', reason: 'sync_failed', message }, 'host') })
  const deliveries = createDeliveries({ store, nodes, dispatcher, toOrder: (task) => toOrder(task, nodes.find(task.node ?? ''), rules) })
  const watch = watchNodes({ store, nodes, deliveries, guard, onRoom: placing.soon })
  const submissions = createSubmissions({ store, versions, nodes, rules })
  const moves = createMoves({ store, nodes })
  const endings = createEndings(store)

  const onChange = (after: TaskRecord, before: TaskRecord) => {
    if (isPlaced(before) && !isPlaced(after)) placing.soon()
    else if (isWaiting(after) && !isOnlyTaken(after, before)) placing.soon()
  }
  // Whoever waited before has nothing more from them.
  store.changes.on('added', placing.later)
  store.changes.on('change', onChange)
  for (const { id } of store.live.values()) deliveries.deliver(id)
  placing.soon()

  /** Of what waits it is told why. */
  function withReason(task: TaskRecord): TaskRecord {
    return isWaiting(task) ? { ...task, message: placing.plan()?.reasonFor(task.hasRow ? task.id : (task.batch ?? task.id))?.message ?? task.message } : task
  }

  function show(task: TaskRecord): Task {
    return toTask(withReason(task), store.countsOf(task))
  }

  return {
    async submit(body, user = '') {
      return { tasks: (await submissions.submit(body, user)).map(show) }
    },

    async preview(body) {
      await checkSubmission(body, { nodes, rules, find: store.find })
      return previewSubmission({ nodes, versions, marks, dependencies, troubleOf: loads.troubleOf, input: placing.input, waiting: store.live.waiting }, body)
    },

    async get(id, waitSeconds = 0, signal) {
      const task = await endings.wait(id, waitSeconds * 1000, signal)
      return toDetails(withReason(task), store.countsOf(task))
    },

    async list(query) {
      const { items, nextCursor } = await store.queries.list(query)
      return { items: items.map((task) => show(store.live.get(task.id) ?? task)), nextCursor }
    },

    kill: async (id, user) => show(await controls.kill(id, byUser(user))),
    pause: async (id, user) => show(await controls.pause(id, byUser(user))),
    resume: async (id, user) => show(await controls.resume(id, byUser(user))),
    hold: async (id, user) => show(await controls.hold(id, byUser(user))),
    release: async (id, user) => show(await controls.release(id, byUser(user))),
    move: async (id, body, user) => show(await moves.move(id, body, byUser(user))),
    retry: async (id, user) => show(await retryTask(id, byUser(user), { store, versions })),

    async rerun(id, body, user = '') {
      const again = await repetitionOf(await store.get(id), body, store)
      return { tasks: (await submissions.submit(again, user, { repetition: { rerun: id, ...body } })).map(show) }
    },

    async failQueued(id, message) {
      const task = await controls.end(id, { state: 'failed', reason: 'user', message }, 'user')
      if (!isFinal(task.state)) throw new HakuError('version.needed', `The task ${id} was given to the node ${task.node} at this moment, with its version. Wait for it, or end it with "hakuriver task kill ${id}".`)
    },

    async report(hostname, instanceId, reports) {
      await nodes.hear(hostname, instanceId)
      return takeReports(hostname, reports, {
        store,
        async suspect(suspicion) {
          await verifications.suspect(suspicion)
          placing.versionsChanged()
        },
      })
    },

    toNode: (record) => toNode(record, store.live.reservations.reservedOn(record.hostname)),
    planInput: placing.input,
    plan: placing.plan,

    close() {
      store.changes.off('added', placing.later)
      store.changes.off('change', onChange)
      watch.close()
      placing.close()
      dependencies.close()
      endings.close()
      deliveries.close()
    },
  }
}

// --- internal ---

/** A batch of which nodes were given some: whoever gave them knows. */
function isOnlyTaken(after: TaskRecord, before: TaskRecord): boolean {
  return after.items !== null && before.items !== null && after.items.pending !== before.items.pending && countIndexes(after.items.pending) < countIndexes(before.items.pending) && after.wish === before.wish
}

function isPlaced(task: TaskRecord): boolean {
  return holdsResources(task.state) || mayComeBack(task)
}
