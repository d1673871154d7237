import type { TaskReport } from '#core/api/schemas.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import type { TaskRecord } from '../state/state.ts'
import type { Executor } from './executor.ts'
import type { TaskRun } from './task-run.ts'

export interface FreezeOptions {
  /** `undefined`: it has ended. */
  run: TaskRun | undefined
  executor: Executor
}

/** Pauses what runs, or goes on with what is paused. @throws `task.state` */
export async function freeze(record: TaskRecord, action: 'pause' | 'resume', { run, executor }: FreezeOptions): Promise<TaskReport> {
  const [needed, next] = action === 'pause' ? (['running', 'paused'] as const) : (['paused', 'running'] as const)
  const refuse = (cause?: unknown) => {
    const why = run?.ending.aborted ? 'is being ended' : `is ${record.report.state}`
    return new HakuError('task.state', `The task ${record.order.id} ${why}; only a ${needed} task can be ${action}d.`, { cause })
  }
  if (!run || run.ending.aborted || record.report.state !== needed || record.handle === null) throw refuse()
  try {
    await executor[action](run)
  } catch (error) {
    if (isHakuError(error, 'engine.conflict', 'container.not_running', 'container.not_found', 'engine.failed')) throw refuse(error)
    throw error
  }
  if (record.wish !== 'kill') record.wish = action === 'pause' ? 'pause' : 'run'
  if (record.report.state === needed) run.report({ state: next })
  return record.report
}
