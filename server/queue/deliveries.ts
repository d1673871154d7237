import { setTimeout } from 'node:timers/promises'
import type { TaskOrder } from '#core/api/schemas.ts'
import { errorMessage, type ErrorKind, type HakuError, isHakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import { judgeReport } from './reports.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Brings orders and kills to the nodes, and does not give up before each has an answer. */
export interface Deliveries {
  /** Delivers what the task needs next. Cheap to call again: one delivery runs for each task. */
  deliver(taskId: string): void
  /** Asks the node for its view of a task that was taken for lost. */
  revive(task: TaskRecord): Promise<void>
  close(): void
}

export interface DeliveriesOptions {
  store: TaskStore
  dispatcher: Dispatcher
  toOrder(task: TaskRecord): TaskOrder
}

const FIRST_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5000
/** The node's own trouble, or the way to it: worth another try. All else is a refusal. */
const TRANSIENT: readonly ErrorKind[] = ['unreachable', 'unavailable', 'internal', 'unauthenticated']

export function createDeliveries({ store, dispatcher, toOrder }: DeliveriesOptions): Deliveries {
  const running = new Set<string>()
  const killed = new Set<string>()
  const closing = new AbortController()

  async function take(task: TaskRecord, action: 'run' | 'kill'): Promise<void> {
    const node = task.node ?? ''
    const report = action === 'run' ? await dispatcher.run(node, toOrder(task)) : await dispatcher.kill(node, { id: task.id, instance: task.instance })
    if (action === 'kill') killed.add(task.id)
    await store.update(task.id, (record) => {
      const verdict = judgeReport(record, node, report)
      return typeof verdict === 'object' ? verdict : undefined
    })
  }

  /** What a node says that will not do it. */
  async function refused(task: TaskRecord, action: 'run' | 'kill', error: HakuError): Promise<void> {
    const finished = new Date().toISOString()
    await store.update(task.id, (record) => {
      if (isFinal(record.state)) return undefined
      if (action === 'run') return { state: 'failed', reason: 'node_refused', message: `The node ${task.node} refused the task: ${error.message}`, finished }
      if (error.code !== 'task.not_found') return { message: `The node ${task.node} did not end the task: ${error.message}` }
      if (record.sequence === 0) return { state: 'killed', reason: 'user', message: null, finished }
      return { state: 'lost', reason: 'node_forgot', message: `The node ${task.node} does not know the task any more.`, finished }
    })
    if (action === 'kill') killed.add(task.id)
  }

  async function work(id: string): Promise<void> {
    let backoff = FIRST_BACKOFF_MS
    while (!closing.signal.aborted) {
      const task = await store.find(id)
      const action = task && nextAction(task, killed)
      if (!task || !action) return
      try {
        await take(task, action)
        backoff = FIRST_BACKOFF_MS
      } catch (error) {
        if (!isHakuError(error)) throw error
        if (!TRANSIENT.includes(error.kind)) {
          await refused(task, action, error)
          continue
        }
        await setTimeout(backoff, undefined, { signal: closing.signal }).catch(() => undefined)
        backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)
      }
    }
  }

  function deliver(taskId: string): void {
    if (running.has(taskId) || closing.signal.aborted) return
    running.add(taskId)
    void work(taskId)
      .catch((error: unknown) => console.error(`[hakuriver] [dispatch] task ${taskId} could not be delivered: ${errorMessage(error)}`))
      .finally(() => running.delete(taskId))
  }

  // A wish that comes while a delivery is on its way is seen by that delivery's next look at the task; one that comes just
  // as it ends starts the next.
  store.changes.on('change', (task: TaskRecord) => {
    if (isFinal(task.state)) killed.delete(task.id)
    else if (nextAction(task, killed)) setImmediate(deliver, task.id)
  })

  return {
    deliver,
    async revive(task) {
      try {
        await take(task, 'run')
      } catch (error) {
        // The next heartbeat brings the next try.
        console.error(`[hakuriver] [dispatch] ${task.node} was asked for the lost task ${task.id}: ${errorMessage(error)}`)
      }
    },
    close: () => closing.abort(),
  }
}

// --- internal ---

function nextAction(task: TaskRecord, killed: ReadonlySet<string>): 'run' | 'kill' | undefined {
  if (task.node === null || isFinal(task.state)) return undefined
  if (task.wish === 'kill') return killed.has(task.id) ? undefined : 'kill'
  return task.sequence === 0 ? 'run' : undefined
}
