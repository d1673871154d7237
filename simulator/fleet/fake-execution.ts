import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Behaviour } from './behaviour.ts'
import type { Gate } from './gate.ts'
import type { Ledger } from './ledger.ts'

/** One execution of a task on a fake node, as its Runner and its Engine would have it. */
export interface FakeExecution {
  readonly id: string
  readonly instance: number
  readonly report: TaskReport
  /** From the order to the running command. */
  begin(): void
  kill(): TaskReport
  /** @throws `task.state` */
  freeze(action: 'pause' | 'resume'): TaskReport
  /** It ends, and nobody hears of it. */
  abandon(): void
  /** Its next report is by so much newer. */
  jump(sequences: number): void
}

export interface FakeExecutionOptions {
  order: TaskOrder
  behaviour: Behaviour
  /** The node has to load the version first. */
  lacks: boolean
  hostname: string
  ledger: Ledger
  gate: Gate
  onLoaded(): void
  onReport(execution: FakeExecution): void
}

type Ending = Pick<TaskReport, 'state' | 'reason' | 'message' | 'exitCode'>

const SIGKILLED = 137
const SIGTERMED = 143

export function createFakeExecution({ order, behaviour, lacks, hostname, ledger, gate, onLoaded, onReport }: FakeExecutionOptions): FakeExecution {
  const { id, instance, timeLimitSeconds } = order
  let isKilled = false
  let isAbandoned = false
  /** The container ran, and is over. */
  let isOver = false
  let timer: NodeJS.Timeout | undefined
  let limit: NodeJS.Timeout | undefined
  let endsAt = Infinity
  let leftMs = behaviour.durationMs

  function report(change: Partial<TaskReport>): void {
    if (isAbandoned || isFinal(execution.report.state)) return
    execution.report = { ...execution.report, sync: null, ...change, sequence: execution.report.sequence + 1 }
    onReport(execution)
  }

  /** What the Runner does after some time, unless the task is to be ended meanwhile. */
  function later(ms: number, step: () => void): void {
    const go = () => gate.run(() => {
      if (!isKilled && !isAbandoned) step()
    })
    if (ms > 0) timer = setTimeout(go, ms)
    else go()
  }

  function sync(): void {
    report({ state: 'syncing', sync: { bytes: 0, totalBytes: 1_000_000, bytesPerSecond: null } })
    later(behaviour.syncMs, () => {
      onLoaded()
      create()
    })
  }

  function create(): void {
    report({ state: 'starting' })
    later(behaviour.startMs, run)
  }

  function run(): void {
    ledger.start(id, instance, hostname)
    report({ state: 'running', started: new Date().toISOString() })
    if (timeLimitSeconds !== null) limit = setTimeout(end, timeLimitSeconds * 1000, { state: 'timed_out', reason: 'time_limit', message: `The task ran longer than its time limit of ${timeLimitSeconds} s.`, exitCode: SIGTERMED })
    goOn()
  }

  function goOn(): void {
    if (leftMs === Infinity) return
    endsAt = performance.now() + leftMs
    timer = setTimeout(end, leftMs, ownEnding(behaviour, order))
  }

  function stopTimers(): void {
    clearTimeout(timer)
    clearTimeout(limit)
  }

  /** The container has ended, whether or not the Runner sees it now. */
  function end(ending: Ending): void {
    if (isOver) return
    isOver = true
    stopTimers()
    ledger.end(id, instance, ending)
    const finished = new Date().toISOString()
    gate.run(() => report({ ...ending, finished, stdoutBytes: 0, stderrBytes: 0 }))
  }

  const execution: FakeExecution & { report: TaskReport } = {
    id,
    instance,
    report: { id, instance, sequence: 1, state: 'assigned', reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null },
    begin() {
      later(0, lacks ? sync : create)
    },
    kill() {
      if (isKilled || isOver) return execution.report
      isKilled = true
      const hasStarted = execution.report.started !== null
      // The answer goes first.
      setImmediate(end, { state: 'killed', reason: 'user', message: null, exitCode: hasStarted ? SIGTERMED : null })
      return execution.report
    },
    freeze(action) {
      const [needed, next] = action === 'pause' ? (['running', 'paused'] as const) : (['paused', 'running'] as const)
      if (execution.report.state !== needed || isOver) throw new HakuError('task.state', `The task ${id} is ${execution.report.state}; only a ${needed} task can be ${action}d.`)
      if (action === 'pause') {
        clearTimeout(timer)
        leftMs = endsAt === Infinity ? Infinity : Math.max(0, endsAt - performance.now())
      } else goOn()
      report({ state: next })
      return execution.report
    },
    abandon() {
      isAbandoned = true
      isOver = true
      stopTimers()
      ledger.end(id, instance, { state: 'lost', exitCode: SIGKILLED })
    },
    jump(sequences) {
      if (!isFinal(execution.report.state)) execution.report = { ...execution.report, sequence: execution.report.sequence + sequences }
    },
  }
  return execution
}

// --- internal ---

function ownEnding({ exitCode, outOfMemory }: Behaviour, { memoryBytes }: TaskOrder): Ending {
  if (outOfMemory) return { state: 'out_of_memory', reason: 'memory_limit', message: `The task used more than its memory limit of ${memoryBytes} bytes.`, exitCode: SIGKILLED }
  if (exitCode === 0) return { state: 'succeeded', reason: null, message: null, exitCode }
  return { state: 'failed', reason: 'exited', message: `The command ended with exit code ${exitCode}.`, exitCode }
}
