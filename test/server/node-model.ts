import { EventEmitter, once } from 'node:events'
import type { PrefetchState, TaskOrder, TaskReport, VersionOrder } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import type { Dispatcher } from '#server/dispatch/dispatcher.ts'

/** A small model of the nodes behind a dispatcher, with knobs to fail. */
export interface NodeModel {
  dispatcher: Dispatcher
  /** Orders that arrived. */
  orders: Map<string, TaskOrder>
  /** How often each task was started: once, whatever happens. */
  starts: Map<string, number>
  /** Off: nothing arrives. */
  reachable: boolean
  /** Refuses orders with these words. */
  refuse: string | undefined
  /** What a node answers when it is to load a version. */
  prefetch: (node: string, order: VersionOrder, signal: AbortSignal) => Promise<PrefetchState>
  /** Nodes that were told to give a load up. */
  cancelledPrefetches: string[]
  /** The next report about a task. */
  report(id: string, seen: Partial<TaskReport>): TaskReport
  /** Resolves once the order has arrived. */
  ordered(id: string): Promise<void>
  killed(id: string): Promise<void>
  /** Resolves after so many tries to deliver the order. */
  tried(id: string, times: number): Promise<void>
}

export function createNodeModel(): NodeModel {
  const events = new EventEmitter()
  const latest = new Map<string, TaskReport>()
  const kills = new Set<string>()
  const tries = new Map<string, number>()

  function report(id: string, seen: Partial<TaskReport>): TaskReport {
    const before = latest.get(id) ?? { id, instance: 1, sequence: 0, state: 'assigned', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null }
    const next: TaskReport = { ...before, ...seen, sequence: before.sequence + 1 }
    latest.set(id, next)
    return next
  }

  function change(id: string, seen: Partial<TaskReport>): Promise<TaskReport> {
    if (!model.reachable) return Promise.reject(new HakuError('node.unreachable', 'away'))
    if (!latest.has(id)) return Promise.reject(new HakuError('task.not_found', `no task ${id}`))
    return Promise.resolve(report(id, seen))
  }

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await once(events, 'call')
  }

  const model: NodeModel = {
    orders: new Map(),
    starts: new Map(),
    reachable: true,
    refuse: undefined,
    prefetch: () => Promise.resolve({ state: 'ready', sync: null, message: null }),
    cancelledPrefetches: [],
    report,
    ordered: (id) => until(() => model.orders.has(id)),
    killed: (id) => until(() => kills.has(id)),
    tried: (id, times) => until(() => (tries.get(id) ?? 0) >= times),
    dispatcher: {
      run(_, order) {
        tries.set(order.id, (tries.get(order.id) ?? 0) + 1)
        setImmediate(() => events.emit('call'))
        if (!model.reachable) return Promise.reject(new HakuError('node.unreachable', 'away'))
        if (model.refuse !== undefined) return Promise.reject(new HakuError('request.invalid', model.refuse))
        const known = latest.get(order.id)
        if (known) return Promise.resolve(known)
        model.orders.set(order.id, order)
        model.starts.set(order.id, (model.starts.get(order.id) ?? 0) + 1)
        return Promise.resolve(report(order.id, {}))
      },
      kill(_, { id }) {
        kills.add(id)
        setImmediate(() => events.emit('call'))
        return change(id, {})
      },
      pause: (_, { id }) => change(id, { state: 'paused' }),
      resume: (_, { id }) => change(id, { state: 'running' }),
      readOutput: () => Promise.reject(new HakuError('node.unreachable', 'away')),
      prefetch: (name, order, signal) => model.prefetch(name, order, signal),
      async cancelPrefetch(name) {
        model.cancelledPrefetches.push(name)
      },
      close: () => undefined,
    },
  }
  return model
}
