import type { Execution, TaskReport } from '#core/api/schemas.ts'
import { canTransition, isFinal, mayComeBack } from '#core/tasks/states.ts'
import { tryAgain } from './try-again.ts'
import type { Suspicion } from '../environments/verifications.ts'
import { assignedAt, type TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** What to do with a report: nothing (heard before), refuse (the node must end this execution), or change the task. */
export type ReportVerdict = 'known' | 'refused' | Partial<TaskRecord>

/** Judges what a node reports of an execution. A pure function; each branch is one promise of the queue. */
export function judgeReport(record: TaskRecord | undefined, node: string, report: TaskReport, now = Date.now()): ReportVerdict {
  if (!record || record.node !== node || record.instance !== report.instance) return 'refused'
  // What nobody waited for any more may have ended, and may not go on: its place was given away.
  if (record.state === 'lost' && !mayComeBack(record) && !isFinal(report.state)) return 'refused'
  const ended = isFinal(record.state) && record.state !== 'lost'
  // An end has nothing after it, and a task taken for lost comes back with whatever its node says: both count whatever was heard before.
  if (report.sequence <= record.sequence && record.state !== 'lost' && (ended || !isFinal(report.state))) return 'known'
  // The Host has ended it without the node (a kill that could not be delivered): the node may not go on.
  if (ended) return isFinal(report.state) ? 'known' : 'refused'
  const { id: _, instance: _instance, damage: _damage, stdoutBytes, stderrBytes, ...seen } = report
  if (record.state !== report.state && !canTransition(record.state, report.state)) return { sequence: report.sequence }
  const changed = { ...seen, ...timesOf(record, report, now), sequence: Math.max(report.sequence, record.sequence), ...(isFinal(report.state) && { stdoutBytes, stderrBytes, sync: null }) }
  return isFinal(report.state) ? (tryAgain(record, { ...record, ...changed }, now) ?? changed) : changed
}

export interface ReportServices {
  store: Pick<TaskStore, 'find' | 'update'>
  suspect(suspicion: Suspicion): Promise<void>
}

/** Takes in what a node saw, all at once: their sequences tell which is the newest. What is acknowledged is on the disk. */
export async function takeReports(node: string, reports: readonly TaskReport[], services: ReportServices): Promise<{ acknowledged: Execution[]; unknown: Execution[] }> {
  const verdicts = await Promise.all(reports.map((report) => takeReport(node, report, services)))
  const executions = reports.map(({ id, instance }) => ({ id, instance }))
  return { acknowledged: executions.filter((_, index) => verdicts[index]), unknown: executions.filter((_, index) => !verdicts[index]) }
}

// --- internal ---

/** By the Host's clock: a node's own may be wrong. Between assignment and now, and how long it ran is what the node measured. */
function timesOf(record: TaskRecord, { started, finished, state }: TaskReport, now: number): Pick<TaskRecord, 'started' | 'finished'> {
  const assigned = assignedAt(record)
  const told = { started: started === null ? null : Date.parse(started), finished: finished === null ? now : Date.parse(finished) }
  // A clock that is ahead shows in the later of the two.
  const aheadMs = Math.max(0, (isFinal(state) ? told.finished : (told.started ?? now)) - now)
  // The first word stands: later the same clock says the same, and now is another time.
  const first = told.started === null ? null : within(told.started - aheadMs, assigned, now)
  const begun = record.started === null ? first : Date.parse(record.started)
  const ended = begun === null || told.started === null ? told.finished : begun + told.finished - told.started
  return { started: begun === null ? null : new Date(begun).toISOString(), finished: isFinal(state) ? new Date(within(ended, begun ?? assigned, now)).toISOString() : null }
}

function within(time: number, from: number, to: number): number {
  return Math.max(from, Math.min(time, to))
}

/** Resolves to whether the report was of something that the node is to have. */
async function takeReport(node: string, report: TaskReport, { store, suspect }: ReportServices): Promise<boolean> {
  const known = await store.find(report.id)
  if (judgeReport(known, node, report) === 'refused') return false
  // Before the report is acknowledged: it comes again until this is stored.
  if (known && report.damage !== null && known.environment !== null && known.version !== null) await suspect({ environment: known.environment, version: known.version, damage: report.damage, node })
  let isWanted = true
  await store.update(report.id, (record) => {
    const verdict = judgeReport(record, node, report)
    isWanted = verdict !== 'refused'
    return typeof verdict === 'object' ? verdict : undefined
  }, `node ${node}`)
  return isWanted
}
