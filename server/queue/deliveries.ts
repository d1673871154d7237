import { setMaxListeners } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Execution, TaskOrder } from '#core/api/schemas.ts'
import { errorMessage, type ErrorKind, type HakuError, isHakuError } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import { judgeReport } from './reports.ts'
import { tryAgain } from './try-again.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Brings orders and kills to the nodes, and does not give up before each has an answer. */
export interface Deliveries {
  /** Delivers what the task needs next. Cheap to call again: one delivery runs for each task. */
  deliver(taskId: string): void
  /** Asks the node for its view of a task that was taken for lost. */
  revive(task: TaskRecord): Promise<void>
  /** Ends an execution that nobody wants (any more), and that its node may know. */
  drop(node: string, execution: Execution): Promise<void>
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
  /** Executions whose node has answered a kill. */
  const killed = new Set<string>()
  const closing = new AbortController()
  // One for each delivery that waits.
  setMaxListeners(0, closing.signal)

  async function take(task: TaskRecord, action: 'run' | 'kill'): Promise<void> {
    const node = task.node ?? ''
    const report = action === 'run' ? await dispatcher.run(node, toOrder(task)) : await dispatcher.kill(node, executionOf(task))
    if (action === 'kill') killed.add(executionKey(task))
    await store.update(task.id, (record) => {
      const verdict = judgeReport(record, node, report)
      return typeof verdict === 'object' ? verdict : undefined
    }, `node ${node}`)
  }

  /** What a node says that will not do it. */
  async function refused(task: TaskRecord, action: 'run' | 'kill', error: HakuError): Promise<void> {
    if (action === 'kill') killed.add(executionKey(task))
    await store.update(task.id, (record) => {
      if (isFinal(record.state) || record.instance !== task.instance) return undefined
      if (action === 'run') return ending(record, { state: 'failed', reason: 'node_refused', message: `The node ${task.node} refused the task: ${error.message}` })
      if (error.code !== 'task.not_found') return { message: `The node ${task.node} did not end the task: ${error.message}` }
      if (record.sequence === 0) return ending(record, { state: 'killed', reason: 'user', message: null })
      return ending(record, { state: 'lost', reason: 'node_forgot', message: `The node ${task.node} does not know the task any more.` })
    }, `node ${task.node}`)
  }

  async function work(id: string): Promise<void> {
    let backoff = FIRST_BACKOFF_MS
    while (!closing.signal.aborted) {
      const task = store.live.get(id)
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
  const onChange = (task: TaskRecord, before: TaskRecord) => {
    if (isFinal(task.state) || task.state === 'queued') killed.delete(executionKey(before))
    else if (nextAction(task, killed)) setImmediate(deliver, task.id)
  }
  store.changes.on('change', onChange)

  return {
    deliver,
    async revive(task) {
      try {
        await take(task, task.wish === 'kill' ? 'kill' : 'run')
      } catch (error) {
        // The next heartbeat brings the next try.
        console.error(`[hakuriver] [dispatch] ${task.node} was asked for the lost task ${task.id}: ${errorMessage(error)}`)
      }
    },
    async drop(node, execution) {
      try {
        await dispatcher.kill(node, execution)
      } catch (error) {
        // Nothing is left to be ended; or the next heartbeat brings the next try.
        if (!isHakuError(error, 'task.not_found')) console.error(`[hakuriver] [dispatch] ${node} was told to end execution ${execution.instance} of ${execution.id}, which nobody wants: ${errorMessage(error)}`)
      }
    },
    close() {
      store.changes.off('change', onChange)
      closing.abort()
    },
  }
}

/** The end of an execution of which its node tells nothing more; or another turn, if there is one left. */
export function ending(task: TaskRecord, end: Pick<TaskRecord, 'state' | 'reason' | 'message'>, now = Date.now()): Partial<TaskRecord> {
  const ended = { ...end, finished: new Date(now).toISOString(), sync: null }
  return tryAgain(task, { ...task, ...ended }, now) ?? ended
}

// --- internal ---

function executionOf({ id, instance }: TaskRecord): Execution {
  return { id, instance }
}

function nextAction(task: TaskRecord, killed: ReadonlySet<string>): 'run' | 'kill' | undefined {
  if (task.node === null || isFinal(task.state)) return undefined
  if (task.wish === 'kill') return killed.has(executionKey(task)) ? undefined : 'kill'
  return task.sequence === 0 ? 'run' : undefined
}
