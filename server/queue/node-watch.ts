import type { Execution } from '#core/api/schemas.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { isFinal, mayComeBack } from '#core/tasks/states.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import { type Deliveries, ending } from './deliveries.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

export interface NodeWatchOptions {
  store: TaskStore
  nodes: Pick<Nodes, 'events' | 'find'>
  deliveries: Deliveries
  /** The nodes are not as they were: what waits may find room. */
  onRoom(): void
  /** The promise that nobody waits for. */
  guard(work: Promise<unknown>): void
}

/** So many heartbeats must say the same: one may have been on its way when the task came or went. */
const BEATS = 2

/** Draws the conclusions from what becomes of nodes: loses their tasks, takes them back, and ends on them what nobody wants. */
export function watchNodes({ store, nodes, deliveries, onRoom, guard }: NodeWatchOptions): { close(): void } {
  const missing = createBeatCount()
  const unwanted = createBeatCount()

  async function lose(tasks: readonly TaskRecord[], reason: 'node_unreachable' | 'node_forgot' | 'node_removed', message: string): Promise<void> {
    await Promise.all(tasks.map(({ id, instance }) => store.update(id, (task) => {
      if (task.instance !== instance || (isFinal(task.state) && !mayComeBack(task))) return undefined
      return isFinal(task.state) ? { reason, message } : ending(task, { state: 'lost', reason, message })
    }, 'host')))
  }

  /** What the node is known to have, and what it would be a second start to give to another one. */
  function givenTo({ hostname }: NodeRecord): TaskRecord[] {
    return store.live.onNode(hostname).filter(({ sequence, retriesLeft, wish }) => sequence > 0 || (retriesLeft > 0 && wish !== 'kill'))
  }

  async function compare(node: NodeRecord, executions: readonly Execution[]): Promise<void> {
    const known = new Set(executions.map(executionKey))
    const expected = [...store.live.onNode(node.hostname).filter(({ sequence }) => sequence > 0), ...store.live.lostOn(node.hostname)]
    const gone = missing.count(node.hostname, expected.filter((task) => !known.has(executionKey(task))))
    await lose(gone, 'node_forgot', `The node ${node.hostname} does not know the task any more.`)
    const lost = store.live.lostOn(node.hostname).filter((task) => known.has(executionKey(task)))
    await Promise.all(lost.map(deliveries.revive))
    const wanted = new Set([...store.live.onNode(node.hostname), ...lost].map(executionKey))
    const strangers = executions.filter((execution) => !wanted.has(executionKey(execution)))
    const counted = new Set(unwanted.count(node.hostname, strangers))
    // What was taken from it is known to be unwanted at once.
    const left = new Set(store.live.reservations.leftOn(node.hostname).map(executionKey))
    await settleLeft(node, known)
    await Promise.all(strangers.filter((execution) => counted.has(execution) || left.has(executionKey(execution))).map((execution) => deliveries.drop(node.hostname, execution)))
  }

  /** The place of what was taken from the node is free once the node has it no more. */
  async function settleLeft({ hostname }: NodeRecord, known: ReadonlySet<string>): Promise<void> {
    const gone = store.live.reservations.leftOn(hostname).filter((execution) => !known.has(executionKey(execution)))
    if (gone.length === 0) return
    await store.forgetLeft(hostname, gone)
    onRoom()
  }

  function loseRemoved(hostname: string): void {
    // Not those of a new node of the name.
    const tasks = [...store.live.onNode(hostname), ...store.live.lostOn(hostname)]
    void store.untilWritten(`that the tasks of ${hostname} are lost could not be stored`, () => lose(tasks, 'node_removed', `The node ${hostname} was removed.`))
  }

  const onHeartbeat = (node: NodeRecord, executions: Execution[]) => guard(compare(node, executions))
  const onOffline = (node: NodeRecord) => {
    const { hostname } = node
    void store.untilWritten(`that the tasks of ${hostname} are lost could not be stored`, async () => {
      if (!nodes.find(hostname)?.online) await lose(givenTo(node), 'node_unreachable', `The node ${hostname} does not answer. If it comes back, the task comes back with it.`)
    })
  }
  const onRemoved = ({ hostname }: NodeRecord) => {
    missing.forget(hostname)
    unwanted.forget(hostname)
    loseRemoved(hostname)
    onRoom()
  }

  // An earlier Host may have ended between the removal of a node and the end of its tasks.
  const places = new Set([...store.live.values()].map(({ node }) => node))
  for (const hostname of places) if (hostname !== null && !nodes.find(hostname)) loseRemoved(hostname)

  nodes.events.on('online', onRoom).on('drain', onRoom).on('heartbeat', onHeartbeat).on('offline', onOffline).on('removed', onRemoved)
  return {
    close() {
      nodes.events.off('online', onRoom).off('drain', onRoom).off('heartbeat', onHeartbeat).off('offline', onOffline).off('removed', onRemoved)
    },
  }
}

// --- internal ---

/** Those that were told in so many heartbeats of a node one after the other. */
function createBeatCount() {
  const nodes = new Map<string, Map<string, number>>()
  return {
    count<T extends Execution>(hostname: string, told: readonly T[]): T[] {
      const before = nodes.get(hostname)
      const now = new Map(told.map((each) => [executionKey(each), (before?.get(executionKey(each)) ?? 0) + 1]))
      nodes.set(hostname, now)
      return told.filter((each) => (now.get(executionKey(each)) ?? 0) >= BEATS)
    },
    forget: (hostname: string) => void nodes.delete(hostname),
  }
}
