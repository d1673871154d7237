import type { TaskState } from '#core/tasks/states.ts'

/** What really happened to one execution of a task, wherever it was. */
export interface TrueExecution {
  id: string
  instance: number
  /** Where it was started last. */
  node: string
  /** More than one is a fault of the Host or of the fleet. */
  starts: number
  /** `null`: it has not ended. What its node lost or gave up ends as `lost`. */
  state: TaskState | null
  exitCode: number | null
}

/** The truth about all executions: what a Host believes is compared with it. */
export interface Ledger {
  readonly counters: FleetCounters
  /** Oldest first. */
  executions(): TrueExecution[]
  find(id: string, instance: number): TrueExecution | undefined
  start(id: string, instance: number, node: string): void
  end(id: string, instance: number, ending: { state: TaskState; exitCode: number | null }): void
}

/** Everything counts from the start of the fleet. */
export interface FleetCounters {
  registrations: number
  beats: number
  /** Orders taken in, repetitions included. */
  orders: number
  /** Orders of an execution that was known already. */
  repeatedOrders: number
  /** Orders of an execution older than one that was known. */
  lateOrders: number
  kills: number
  pauses: number
  resumes: number
  /** Calls that carry reports, and the reports in them. */
  reportCalls: number
  reports: number
  /** Executions that began. */
  starts: number
  /** Executions that were started more than once. */
  duplicates: number
  /** Executions that began while another one of the same task was still running somewhere. */
  overlaps: number
  ends: number
  /** Endings that the Host has acknowledged. */
  acknowledged: number
  /** Executions that the Host did not want (any more). */
  disowned: number
  droppedRequests: number
  droppedAnswers: number
  droppedReplies: number
}

export function createLedger(): Ledger {
  const executions = new Map<string, TrueExecution>()
  /** Task → how many of its executions run now. */
  const running = new Map<string, number>()
  const counters: FleetCounters = {
    registrations: 0, beats: 0, orders: 0, repeatedOrders: 0, lateOrders: 0, kills: 0, pauses: 0, resumes: 0, reportCalls: 0, reports: 0, starts: 0, duplicates: 0, overlaps: 0, ends: 0,
    acknowledged: 0, disowned: 0, droppedRequests: 0, droppedAnswers: 0, droppedReplies: 0,
  }
  return {
    counters,
    executions: () => [...executions.values()],
    find: (id, instance) => executions.get(`${id}/${instance}`),
    start(id, instance, node) {
      const key = `${id}/${instance}`
      const known = executions.get(key)
      counters.starts += 1
      if (known) counters.duplicates += 1
      const others = running.get(id) ?? 0
      if (others > 0) counters.overlaps += 1
      running.set(id, others + 1)
      executions.set(key, { id, instance, node, starts: (known?.starts ?? 0) + 1, state: null, exitCode: null })
    },
    end(id, instance, ending) {
      const known = executions.get(`${id}/${instance}`)
      if (!known || known.state !== null) return
      known.state = ending.state
      known.exitCode = ending.exitCode
      counters.ends += 1
      const left = (running.get(id) ?? 1) - 1
      if (left > 0) running.set(id, left)
      else running.delete(id)
    },
  }
}
