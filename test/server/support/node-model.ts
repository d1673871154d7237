import { EventEmitter, once } from 'node:events'
import type { Execution, PrefetchState, TaskOrder, TaskReport, VersionOrder } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Dispatcher } from '#server/dispatch/dispatcher.ts'

/** A small model of the nodes behind a dispatcher, with knobs to fail. Keeps what Runners promise. */
export interface NodeModel {
  dispatcher: Dispatcher
  /** Last orders that arrived, by task. */
  orders: Map<string, TaskOrder>
  /** How often each task was started: once for each instance, whatever happens. */
  starts: Map<string, number>
  /** Off: nothing arrives anywhere. */
  reachable: boolean
  /** Nodes at which nothing arrives. */
  unreachable: Set<string>
  /** Arrives, and the answer is lost. */
  loseAnswers: boolean
  /** Refuses orders with these words. */
  refuse: string | undefined
  /** What a node answers when it is to load a version. */
  prefetch: (node: string, order: VersionOrder, signal: AbortSignal) => Promise<PrefetchState>
  /** Nodes that were told to give a load up. */
  cancelledPrefetches: string[]
  /** The next report about the last execution of a task. */
  report(id: string, seen: Partial<TaskReport>): TaskReport
  /** The next report about this one. */
  reportOf(node: string, execution: Execution, seen: Partial<TaskReport>): TaskReport
  /** All that a node knows, as it tells with a heartbeat. */
  known(node: string): Execution[]
  /** Executions that have not ended, as their nodes see it. */
  running(): (Execution & { node: string; order: TaskOrder })[]
  /** A node is told that these are of no use any more. */
  forget(node: string, executions: readonly Execution[]): void
  /** Resolves once the order of an instance (the first unless said) has arrived. */
  ordered(id: string, instance?: number): Promise<void>
  killed(id: string): Promise<void>
  /** Resolves after so many tries to deliver the order. */
  tried(id: string, times: number): Promise<void>
}

interface Known {
  node: string
  order: TaskOrder
  report: TaskReport
}

const UNKNOWN: Omit<TaskReport, 'id' | 'instance'> = { sequence: 0, state: 'assigned', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null }

export function createNodeModel(): NodeModel {
  const events = new EventEmitter()
  events.setMaxListeners(0)
  const executions = new Map<string, Known>()
  /** Of tasks that no node was given. */
  const strangers = new Map<string, TaskReport>()
  const kills = new Set<string>()
  const tries = new Map<string, number>()

  function next(before: TaskReport, seen: Partial<TaskReport>): TaskReport {
    return { ...before, ...seen, sequence: before.sequence + 1 }
  }

  function see(known: Known, seen: Partial<TaskReport>): TaskReport {
    known.report = next(known.report, seen)
    return known.report
  }

  function keyOf(node: string, { id, instance }: Execution): string {
    return `${node} ${id}-${instance}`
  }

  /** How a node behaves that is asked for something. */
  function answer<T>(node: string, work: () => T): Promise<T> {
    setImmediate(() => events.emit('call'))
    const away = () => Promise.reject(new HakuError('node.unreachable', 'away'))
    if (!model.reachable || model.unreachable.has(node)) return away()
    try {
      const result = work()
      return model.loseAnswers ? away() : Promise.resolve(result)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  function control(node: string, execution: Execution, seen: (report: TaskReport) => Partial<TaskReport>): Promise<TaskReport> {
    return answer(node, () => {
      const known = executions.get(keyOf(node, execution))
      if (!known) throw new HakuError('task.not_found', `no task ${execution.id}`)
      return isFinal(known.report.state) ? known.report : see(known, seen(known.report))
    })
  }

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await once(events, 'call')
  }

  function lastOf(id: string): Known | undefined {
    return [...executions.values()].filter(({ order }) => order.id === id).sort((left, right) => right.order.instance - left.order.instance)[0]
  }

  const model: NodeModel = {
    orders: new Map(),
    starts: new Map(),
    reachable: true,
    unreachable: new Set(),
    loseAnswers: false,
    refuse: undefined,
    prefetch: () => Promise.resolve({ state: 'ready', sync: null, message: null }),
    cancelledPrefetches: [],
    report(id, seen) {
      const known = lastOf(id)
      if (known) return see(known, seen)
      const report = next(strangers.get(id) ?? { ...UNKNOWN, id, instance: 1 }, seen)
      strangers.set(id, report)
      return report
    },
    reportOf(node, execution, seen) {
      const known = executions.get(keyOf(node, execution))
      if (!known) throw new Error(`${node} does not know ${execution.id}`)
      return see(known, seen)
    },
    known: (node) => [...executions.values()].filter((known) => known.node === node).map(({ order: { id, instance } }) => ({ id, instance })),
    running: () => [...executions.values()].filter(({ report }) => !isFinal(report.state)).map(({ node, order }) => ({ node, order, id: order.id, instance: order.instance })),
    forget(node, told) {
      for (const execution of told) executions.delete(keyOf(node, execution))
    },
    ordered: (id, instance = 1) => until(() => (model.orders.get(id)?.instance ?? 0) >= instance),
    killed: (id) => until(() => kills.has(id)),
    tried: (id, times) => until(() => (tries.get(id) ?? 0) >= times),
    dispatcher: {
      run(node, order) {
        tries.set(order.id, (tries.get(order.id) ?? 0) + 1)
        return answer(node, () => {
          if (model.refuse !== undefined) throw new HakuError('request.invalid', model.refuse)
          const known = executions.get(keyOf(node, order))
          if (known) return known.report
          const others = [...executions].filter(([, other]) => other.node === node && other.order.id === order.id)
          if (others.some(([, other]) => other.order.instance > order.instance)) throw new HakuError('task.superseded', 'a later execution is known')
          for (const [key] of others) executions.delete(key)
          model.orders.set(order.id, order)
          model.starts.set(order.id, (model.starts.get(order.id) ?? 0) + 1)
          const added: Known = { node, order, report: next({ ...UNKNOWN, id: order.id, instance: order.instance }, {}) }
          executions.set(keyOf(node, order), added)
          return added.report
        })
      },
      kill(node, execution) {
        kills.add(execution.id)
        return control(node, execution, () => ({}))
      },
      pause: (node, execution) => control(node, execution, () => ({ state: 'paused' })),
      resume: (node, execution) => control(node, execution, () => ({ state: 'running' })),
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
