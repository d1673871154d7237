import { setMaxListeners } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Execution, TaskOrder } from '#core/api/schemas.ts'
import { errorMessage, type ErrorKind, HakuError, isHakuError } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Dispatcher } from '../dispatch/dispatcher.ts'
import type { Nodes } from '../nodes/nodes.ts'
import { judgeReport } from './reports.ts'
import { toQueue, tryAgain } from './try-again.ts'
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
  nodes: Pick<Nodes, 'find'>
  dispatcher: Dispatcher
  toOrder(task: TaskRecord): TaskOrder
}

const FIRST_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5000
/** The node's own trouble, the way to it, or the Host's disk: worth another try. All else is a refusal. */
const TRANSIENT: readonly ErrorKind[] = ['unreachable', 'unavailable', 'internal', 'unauthenticated']

export function createDeliveries({ store, nodes, dispatcher, toOrder }: DeliveriesOptions): Deliveries {
  const running = new Set<string>()
  /** Executions whose node has answered a kill. */
  const killed = new Set<string>()
  const closing = new AbortController()
  // One for each delivery that waits.
  setMaxListeners(0, closing.signal)

  /** The node has answered a kill. */
  function answered(task: TaskRecord): void {
    const now = store.live.get(task.id)
    if (now?.instance === task.instance && now.node !== null) killed.add(executionKey(task))
  }

  /** Gives the order, or without one the kill, and takes in what the node says to it. */
  async function take(task: TaskRecord, order: TaskOrder | undefined): Promise<void> {
    const node = task.node ?? ''
    const report = order ? await dispatcher.run(node, order) : await dispatcher.kill(node, executionOf(task))
    await store.update(task.id, (record) => {
      const verdict = judgeReport(record, node, report)
      return typeof verdict === 'object' ? verdict : undefined
    }, `node ${node}`)
    if (!order) answered(task)
  }

  /** What a node says that will not do it. */
  async function refused(task: TaskRecord, action: 'run' | 'kill', error: HakuError): Promise<void> {
    await store.update(task.id, (record) => {
      if (isFinal(record.state) || record.instance !== task.instance) return undefined
      if (action === 'run') return ending(record, { state: 'failed', reason: 'node_refused', message: `The node ${task.node} refused the task: ${error.message}` })
      if (error.code !== 'task.not_found') return { message: `The node ${task.node} did not end the task: ${error.message}` }
      if (record.sequence === 0) return ending(record, { state: 'killed', reason: 'user', message: null })
      return ending(record, { state: 'lost', reason: 'node_forgot', message: `The node ${task.node} does not know the task any more.` })
    }, `node ${task.node}`)
    if (action === 'kill') answered(task)
  }

  /** There is no order that could be sent. */
  async function unsendable(task: TaskRecord, { code, message }: HakuError): Promise<void> {
    const end = { state: 'failed', reason: 'start_failed', message } as const
    await store.update(task.id, (record) => {
      if (isFinal(record.state) || record.instance !== task.instance) return undefined
      // A command that is too long is so the next time too.
      return code === 'task.command_invalid' ? { ...end, finished: new Date().toISOString() } : ending(record, end)
    }, 'host')
  }

  async function tryOnce(task: TaskRecord, action: 'run' | 'kill'): Promise<void> {
    const order = action === 'run' ? orderOf(task) : undefined
    if (order instanceof HakuError) return unsendable(task, order)
    try {
      await take(task, order)
    } catch (error) {
      if (!isHakuError(error) || isTransient(error)) throw error
      await refused(task, action, error)
    }
  }

  function orderOf(task: TaskRecord): TaskOrder | HakuError {
    try {
      return toOrder(task)
    } catch (error) {
      if (isHakuError(error)) return error
      throw error
    }
  }

  /** Until nothing is left to be delivered. Whatever a try comes to, the next one waits unless there is something else to do. */
  async function work(id: string): Promise<void> {
    let backoff = FIRST_BACKOFF_MS
    while (!closing.signal.aborted) {
      const task = store.live.get(id)
      const action = task && nextAction(task, killed)
      if (!task || !action) return
      await tryOnce(task, action).catch((error: unknown) => {
        if (!isHakuError(error) && backoff === FIRST_BACKOFF_MS) console.error(`[hakuriver] [dispatch] task ${id} could not be delivered, and is tried again: ${errorMessage(error)}`)
      })
      const now = store.live.get(id)
      if (now?.instance !== task.instance || nextAction(now, killed) !== action) {
        backoff = FIRST_BACKOFF_MS
        continue
      }
      await setTimeout(backoff, undefined, { signal: closing.signal }).catch(() => undefined)
      backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)
    }
  }

  /** Its node fell silent, or was removed, while that it is given it was being stored: nothing was sent. */
  function takeBack({ id, instance, node }: TaskRecord): void {
    void store.untilWritten(`that task ${id} does not go to ${node} could not be stored`, () => store.update(id, (task) => {
      if (task.instance !== instance || task.state !== 'assigned') return undefined
      if (task.wish === 'kill') return { state: 'killed', reason: 'user', finished: new Date().toISOString() }
      return { ...toQueue, message: `The node ${node} was not there any more.` }
    }, 'host'))
  }

  function deliver(taskId: string): void {
    if (running.has(taskId) || closing.signal.aborted) return
    running.add(taskId)
    void work(taskId).finally(() => running.delete(taskId))
  }

  // A wish that comes while a delivery is on its way is seen by that delivery's next look at the task; one that comes just
  // as it ends starts the next.
  const onChange = (task: TaskRecord, before: TaskRecord) => {
    if (isFinal(task.state) || task.state === 'queued') killed.delete(executionKey(before))
    else if (before.state === 'queued' && task.node !== null && !nodes.find(task.node)?.online) takeBack(task)
    else if (nextAction(task, killed)) setImmediate(deliver, task.id)
  }
  store.changes.on('change', onChange)

  return {
    deliver,
    async revive(task) {
      try {
        await take(task, task.wish === 'kill' ? undefined : toOrder(task))
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

/** A node that was removed takes its tasks with it: whoever watches the nodes tells. */
function isTransient({ kind, code }: HakuError): boolean {
  return TRANSIENT.includes(kind) || code === 'node.not_found'
}

function nextAction(task: TaskRecord, killed: ReadonlySet<string>): 'run' | 'kill' | undefined {
  if (task.node === null || isFinal(task.state)) return undefined
  if (task.wish === 'kill') return killed.has(executionKey(task)) ? undefined : 'kill'
  return task.sequence === 0 ? 'run' : undefined
}
