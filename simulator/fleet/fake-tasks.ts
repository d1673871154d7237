import type { Execution, NodeImage, TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Behave } from './behaviour.ts'
import { createFakeExecution, type FakeExecution } from './fake-execution.ts'
import type { Gate } from './gate.ts'
import type { Ledger } from './ledger.ts'

/** The tasks of a fake node, by the rules of a real Runner's. */
export interface FakeTasks {
  /** Versions that it needs not load any more. */
  readonly images: readonly NodeImage[]
  hold(image: NodeImage): void
  /** @throws `task.superseded` */
  accept(order: TaskOrder): TaskReport
  /** @throws `task.not_found` */
  kill(execution: Execution): TaskReport
  /** @throws `task.not_found`, `task.state` */
  pause(execution: Execution): TaskReport
  resume(execution: Execution): TaskReport
  /** Last reports that the Host has not acknowledged, the oldest first. */
  outbox(): TaskReport[]
  acknowledge(reports: readonly TaskReport[]): void
  disown(execution: Execution): void
  /** Every unfinished or unacknowledged one. */
  active(): Execution[]
  /** The Runner was started again: what it reports now is newer than anything before. */
  recover(): void
  /** Its disk is gone, and everything that ran with it. */
  lose(): void
}

export interface FakeTasksOptions {
  hostname: string
  behave: Behave
  ledger: Ledger
  /** Shut while the Runner does nothing. Tasks run on. */
  gate: Gate
  /** The outbox has grown. */
  onNews(urgent: boolean): void
}

/** As a Runner does it: it may have told more than it has written down. */
const SEQUENCE_GAP = 1000

export function createFakeTasks({ hostname, behave, ledger, gate, onNews }: FakeTasksOptions): FakeTasks {
  const images = new Map<string, NodeImage>()
  const active = new Map<string, FakeExecution>()
  /** Last reports of those whose end the Host knows, so that a late order starts nothing. */
  const ended = new Map<string, TaskReport>()
  const unheard = new Set<FakeExecution>()
  const { counters } = ledger

  function hold(image: NodeImage): void {
    images.set(`${image.environment}@${image.version}`, { environment: image.environment, version: image.version })
  }

  function toReport(execution: FakeExecution): void {
    unheard.add(execution)
    onNews(isFinal(execution.report.state))
  }

  function begin(order: TaskOrder): FakeExecution {
    const lacks = order.image !== null && !images.has(`${order.image.environment}@${order.image.version}`)
    return createFakeExecution({ order, behaviour: behave(order), lacks, hostname, ledger, gate, onLoaded: () => order.image && hold(order.image), onReport: toReport })
  }

  function drop(execution: FakeExecution): void {
    execution.abandon()
    unheard.delete(execution)
    active.delete(execution.id)
  }

  function running({ id, instance }: Execution): FakeExecution {
    const execution = active.get(id)
    if (execution?.instance !== instance) throw new HakuError('task.not_found', `This node has no execution ${instance} of task ${id}.`)
    return execution
  }

  return {
    get images() {
      return [...images.values()]
    },
    hold,
    accept(order) {
      counters.orders += 1
      const known = active.get(order.id)?.report ?? ended.get(order.id)
      if (known && known.instance > order.instance) {
        counters.lateOrders += 1
        throw new HakuError('task.superseded', `This node knows execution ${known.instance} of task ${order.id}, and was told to start ${order.instance}.`)
      }
      if (known?.instance === order.instance) {
        counters.repeatedOrders += 1
        return known
      }
      const earlier = active.get(order.id)
      if (earlier) drop(earlier)
      ended.delete(order.id)
      const execution = begin(order)
      active.set(order.id, execution)
      setImmediate(() => gate.run(execution.begin))
      return execution.report
    },
    kill(execution) {
      counters.kills += 1
      const over = ended.get(execution.id)
      if (over?.instance === execution.instance) return over
      return running(execution).kill()
    },
    pause(execution) {
      counters.pauses += 1
      return running(execution).freeze('pause')
    },
    resume(execution) {
      counters.resumes += 1
      return running(execution).freeze('resume')
    },
    outbox: () => [...unheard].map(({ report }) => report),
    acknowledge(reports) {
      for (const { id, instance, sequence } of reports) {
        const execution = active.get(id)
        if (execution?.instance !== instance || execution.report.sequence > sequence) continue
        unheard.delete(execution)
        if (!isFinal(execution.report.state)) continue
        active.delete(id)
        ended.set(id, execution.report)
        counters.acknowledged += 1
      }
    },
    disown({ id, instance }) {
      const execution = active.get(id)
      if (execution?.instance === instance) {
        counters.disowned += 1
        drop(execution)
      }
      if (ended.get(id)?.instance === instance) ended.delete(id)
    },
    active: () => [...active.values()].map(({ id, instance }) => ({ id, instance })),
    recover() {
      for (const execution of active.values()) {
        execution.jump(SEQUENCE_GAP)
        unheard.add(execution)
      }
      if (unheard.size > 0) onNews(true)
    },
    lose() {
      for (const execution of active.values()) drop(execution)
      ended.clear()
      images.clear()
    },
  }
}
