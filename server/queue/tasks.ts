import type { Execution, Node, SubmitBody, SubmitPreview, Task, TaskDetails, TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { VersionMarks } from '../environments/marks.ts'
import type { Verifications } from '../environments/verifications.ts'
import type { Versions } from '../environments/versions.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import { planPlacements } from '../scheduler/plan.ts'
import { nodeState, toWaiting, waitingTasks } from './capacity.ts'
import { checkSubmission } from './check-submission.ts'
import { createDeliveries } from './deliveries.ts'
import { previewSubmission } from './preview.ts'
import { judgeReport } from './reports.ts'
import { type TaskRecord, toTask } from './task-record.ts'
import type { TaskQuery, TaskStore } from './task-store.ts'
import { waitUntilFinal } from './waiting.ts'

export interface Tasks {
  /** Everything is checked before anything is created. @throws see `hostApi.submitTask` */
  submit(body: SubmitBody): Promise<{ tasks: Task[] }>
  /** What a submission would come to; nothing is stored. @throws as `submit` */
  preview(body: SubmitBody): Promise<SubmitPreview>
  /** Holds the answer until the task has ended, for `waitSeconds` at most. @throws `task.not_found` */
  get(id: string, waitSeconds?: number, signal?: AbortSignal): Promise<TaskDetails>
  list(query: TaskQuery): Promise<{ items: Task[]; nextCursor: string | null }>
  /** @throws `task.not_found`, `task.finished` */
  kill(id: string): Promise<Task>
  /** Fails a task that was given to no node yet, with a sentence for people. @throws `task.not_found`, `version.needed` once a node was given it */
  failQueued(id: string, message: string): Promise<void>
  /** @throws `task.not_found`, `task.finished`, `task.state`, `node.unreachable` */
  pause(id: string): Promise<Task>
  resume(id: string): Promise<Task>
  /** Takes in what a Runner saw. */
  report(hostname: string, instanceId: string, reports: TaskReport[]): Promise<{ acknowledged: Execution[]; unknown: Execution[] }>
  /** A node with what tasks have reserved on it. */
  toNode(record: NodeRecord): Node
  close(): void
}

export interface TasksOptions {
  store: TaskStore
  nodes: Nodes
  versions: Pick<Versions, 'use' | 'resolve' | 'details'>
  marks: Pick<VersionMarks, 'get'>
  verifications: Pick<Verifications, 'suspect' | 'events'>
  dispatcher: Dispatcher
  docker: { network: string; tasks_privileged: boolean; additional_mounts: readonly string[]; allowed_mounts: readonly string[] }
}

/** The queue. Starts at once with what an earlier Host left unfinished. */
export function createTasks({ store, nodes, versions, marks, verifications, dispatcher, docker }: TasksOptions): Tasks {
  const reasons = new Map<string, string>()
  const missedBeats = new Map<string, number>()
  const deliveries = createDeliveries({ store, dispatcher, toOrder })

  function toOrder(task: TaskRecord): TaskOrder {
    const { id, instance, environment, version, pinned, command, env, cores, memoryBytes, numaNode, user, workdir, timeLimitSeconds, signal, graceSeconds } = task
    return { id, instance, image: environment === null || version === null ? null : { environment, version, ...pinned }, command, env, cores, memoryBytes, mounts: [...docker.additional_mounts, ...task.mounts], network: docker.network, privileged: docker.tasks_privileged, numaNode, gpus: [], user, workdir, timeLimitSeconds, signal, graceSeconds, maxOutputBytes: null, pack: null }
  }

  async function placeQueued(): Promise<void> {
    const queued = await withSoundVersion(waitingTasks(store.active()))
    if (queued.length === 0) return
    const plan = planPlacements({ waiting: queued.map(toWaiting), nodes: nodes.list().map((node) => nodeState(node, store.active())), loadBytes: new Map(), now: Date.now() })
    for (const { id } of queued) reasons.set(id, plan.reasonFor(id)?.message ?? '')
    for (const { taskId, node } of plan.placements) {
      reasons.delete(taskId)
      await store.update(taskId, (task) => (task.state === 'queued' ? { state: 'assigned', node, instance: 1 } : undefined))
    }
  }

  /** Those whose version may be given to a node now. What waits for one that is damaged fails; while that is not sure, it waits on. */
  async function withSoundVersion(queued: readonly TaskRecord[]): Promise<TaskRecord[]> {
    const sound: TaskRecord[] = []
    for (const waiting of queued) {
      const { damage, suspectedBy } = marks.get(waiting.environment ?? '', waiting.version ?? 0)
      if (damage === null) sound.push(waiting)
      else if (suspectedBy !== null) reasons.set(waiting.id, `Waits for the Host to read its version: the node ${suspectedBy} says that it is damaged.`)
      else await store.update(waiting.id, (task) => (task.state === 'queued' ? { state: 'failed', reason: 'sync_failed', message: damage, finished: new Date().toISOString() } : undefined))
    }
    return sound
  }

  /** Plans one after the other: two at once would give the same cores twice. */
  let planning: Promise<void> = Promise.resolve()
  function schedule(): Promise<void> {
    planning = planning.then(placeQueued).catch((error: unknown) => console.error('[hakuriver] [queue] placing tasks failed:', error))
    return planning
  }

  function show(task: TaskRecord): Task {
    return toTask(task.state === 'queued' ? { ...task, message: reasons.get(task.id) ?? null } : task)
  }

  async function assertLive(id: string): Promise<TaskRecord> {
    const task = await store.get(id)
    if (isFinal(task.state) && task.state !== 'lost') throw new HakuError('task.finished', `The task ${id} has already ended: ${task.state}${task.exitCode === null ? '' : `, exit code ${task.exitCode}`}.`)
    return task
  }

  async function freeze(id: string, action: 'pause' | 'resume'): Promise<Task> {
    const task = await assertLive(id)
    const needed = action === 'pause' ? 'running' : 'paused'
    if (task.state !== needed || task.node === null) throw new HakuError('task.state', `The task ${id} is ${task.state}; only a ${needed} task can be ${action}d.`)
    const report = await dispatcher[action](task.node, { id, instance: task.instance })
    await store.update(id, (record) => {
      const verdict = judgeReport(record, task.node ?? '', report)
      return { ...(typeof verdict === 'object' ? verdict : {}), ...(record.wish === 'kill' ? {} : { wish: action === 'pause' ? 'pause' : 'run' }) }
    })
    return show(await store.get(id))
  }

  async function loseTasks(tasks: TaskRecord[], reason: 'node_unreachable' | 'node_forgot', message: string): Promise<void> {
    for (const { id } of tasks) {
      await store.update(id, (task) => (isFinal(task.state) ? undefined : { state: 'lost', reason, message, finished: new Date().toISOString() }))
    }
  }

  function onNode(hostname: string): TaskRecord[] {
    return store.active().filter((task) => task.node === hostname && task.sequence > 0)
  }

  /** A task that its node leaves out of two heartbeats is gone: one may have been on its way when the task came. */
  async function compare(node: NodeRecord, known: ReadonlySet<string>): Promise<void> {
    const missing = onNode(node.hostname).filter((task) => !known.has(task.id))
    for (const id of missedBeats.keys()) if (known.has(id)) missedBeats.delete(id)
    for (const { id } of missing) missedBeats.set(id, (missedBeats.get(id) ?? 0) + 1)
    const gone = missing.filter(({ id }) => (missedBeats.get(id) ?? 0) >= 2)
    for (const { id } of gone) missedBeats.delete(id)
    await loseTasks(gone, 'node_forgot', `The node ${node.hostname} does not know the task any more.`)
    const lost = (await store.findLost([...known])).filter((task) => task.node === node.hostname)
    for (const task of lost) await deliveries.revive(task)
  }

  const guard = (work: Promise<unknown>) => void work.catch((error: unknown) => console.error('[hakuriver] [queue]', error))
  nodes.events.on('online', () => guard(schedule()))
  nodes.events.on('heartbeat', (node, known: (string | { id: string })[]) => guard(compare(node, new Set(known.map((each) => (typeof each === 'string' ? each : each.id))))))
  nodes.events.on('offline', (node) => guard(loseTasks(onNode(node.hostname), 'node_unreachable', `The node ${node.hostname} does not answer. If it comes back, the task comes back with it.`)))
  const onVerdict = () => guard(schedule())
  verifications.events.on('verdict', onVerdict)
  store.changes.on('change', (task) => {
    if (isFinal(task.state)) guard(schedule())
  })
  for (const task of store.active()) deliveries.deliver(task.id)
  guard(schedule())

  return {
    async submit(body) {
      const targets = await checkSubmission(body, nodes, docker.allowed_mounts)
      // Nobody removes the version before the tasks that were promised it are known.
      if (body.environment === null) throw new Error('not yet')
      const records = await versions.use(body.environment, body.version, async ({ version, pinned }) => {
        const submitted = new Date().toISOString()
        const { targets: _, key: _key, items: _items, parallel: _parallel, pack: _pack, hold: _hold, ...rest } = body
        const made = targets.map((target): TaskRecord => ({
          ...rest, id: createId(), target, version, batch: null, index: null, variables: {}, items: null, instance: 0, gpuIds: [], numaNode: null, pinned, submitted,
          state: 'queued', wish: 'run', reason: null, message: null, exitCode: null, sync: null, node: null, started: null, finished: null, sequence: 0, stdoutBytes: null, stderrBytes: null,
        }))
        await store.add(made)
        return made
      })
      await schedule()
      return { tasks: await Promise.all(records.map(async ({ id }) => show(await store.get(id)))) }
    },

    preview: (body) => previewSubmission({ store, nodes, versions, allowedMounts: docker.allowed_mounts }, body),

    async get(id, waitSeconds = 0, signal) {
      return { ...show(await waitUntilFinal(store, id, waitSeconds * 1000, signal)), events: [] }
    },

    async list(query) {
      const items = (await store.list(query)).map(show)
      return { items, nextCursor: items.length === query.limit ? (items.at(-1)?.id ?? null) : null }
    },

    async kill(id) {
      await assertLive(id)
      const finished = new Date().toISOString()
      const task = await store.update(id, (record) => {
        if (record.state === 'queued') return { state: 'killed', wish: 'kill', reason: 'user', finished }
        return isFinal(record.state) && record.state !== 'lost' ? undefined : { wish: 'kill' }
      })
      return show(task)
    },

    async failQueued(id, message) {
      const finished = new Date().toISOString()
      const task = await store.update(id, (record) => (record.state === 'queued' ? { state: 'failed', reason: 'user', message, finished } : undefined))
      if (!isFinal(task.state)) throw new HakuError('version.needed', `The task ${id} was given to the node ${task.node} at this moment, with its version. Wait for it, or end it with "hakuriver task kill ${id}".`)
    },

    pause: (id) => freeze(id, 'pause'),
    resume: (id) => freeze(id, 'resume'),

    async report(hostname, instanceId, reports) {
      nodes.assertInstance(hostname, instanceId)
      const answer = { acknowledged: [] as Execution[], unknown: [] as Execution[] }
      for (const report of reports) {
        const known = await store.find(report.id)
        const verdict = judgeReport(known, hostname, report)
        if (verdict === 'refused') {
          answer.unknown.push({ id: report.id, instance: report.instance })
          continue
        }
        // Before the report is acknowledged: it comes again until this is stored.
        if (known && report.damage !== null) await verifications.suspect({ environment: known.environment ?? '', version: known.version ?? 0, damage: report.damage, node: hostname })
        await store.update(report.id, (record) => {
          const now = judgeReport(record, hostname, report)
          return typeof now === 'object' ? now : undefined
        })
        answer.acknowledged.push({ id: report.id, instance: report.instance })
      }
      return answer
    },

    toNode(record) {
      const { placed, numaNodes, gpus, plainProcesses } = nodeState(record, store.active())
      const { hostname, url, online, lastHeartbeat, cores, memoryBytes, usage, engine, runnerVersion, images } = record
      return { hostname, url, state: online ? 'online' : 'offline', lastHeartbeat: lastHeartbeat.toISOString(), cores, coresReserved: placed.reduce((sum, task) => sum + task.cores, 0), memoryBytes, memoryReservedBytes: placed.reduce((sum, task) => sum + (task.memoryBytes ?? 0), 0), numaNodes: [...numaNodes], gpus: [...gpus], gpusReserved: [], plainProcesses, drained: record.drained, tasks: placed.length, usage, engine, runnerVersion, images: [...images] }
    },

    close() {
      verifications.events.off('verdict', onVerdict)
      deliveries.close()
    },
  }
}
