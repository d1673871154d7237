import type { TaskReport } from '#core/api/schemas.ts'
import { canTransition, isFinal } from '#core/tasks/states.ts'
import type { TaskRecord } from './task-record.ts'

/** What to do with a report: nothing (heard before), refuse (the node must end the task), or change the task. */
export type ReportVerdict = 'known' | 'refused' | Partial<TaskRecord>

/** Judges what a node reports of a task. A pure function; each branch is one promise of the queue. */
export function judgeReport(record: TaskRecord | undefined, node: string, report: TaskReport): ReportVerdict {
  if (!record || record.node !== node) return 'refused'
  // A task taken for lost comes back with whatever its node says, heard before or not.
  if (report.sequence <= record.sequence && record.state !== 'lost') return 'known'
  const ended = isFinal(record.state) && record.state !== 'lost'
  // The Host has ended it without the node (a kill that could not be delivered): the node may not go on.
  if (ended) return isFinal(report.state) ? 'known' : 'refused'
  const { id: _, damage: _damage, stdoutBytes, stderrBytes, ...seen } = report
  if (record.state !== report.state && !canTransition(record.state, report.state)) return { sequence: report.sequence }
  return { ...seen, sequence: Math.max(report.sequence, record.sequence), ...(isFinal(report.state) && { stdoutBytes, stderrBytes }) }
}
