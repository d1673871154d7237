import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import type { TaskRecord } from '#runner/state/state.ts'
import { createOrder } from './workspace.ts'

/** What a Runner knows of an execution in this state. */
export function createRecord(state: TaskReport['state'] = 'running', { sequence = 5, ...change }: Partial<TaskOrder> & { sequence?: number } = {}): TaskRecord {
  const order = createOrder('sha256:x', ['true'], change)
  const report = { id: order.id, instance: order.instance, sequence, state, reason: null, message: null, exitCode: null, started: null, finished: null, stdoutBytes: null, stderrBytes: null, sync: null, damage: null }
  return { order, report, acknowledged: 1, wish: 'run', isTimedOut: false, handle: 'c1', cpus: null, released: null }
}
