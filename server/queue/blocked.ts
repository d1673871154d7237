import type { WaitingReason } from '#core/api/schemas.ts'
import { plural } from '#core/words.ts'
import type { VersionMarks } from '../environments/marks.ts'
import { versionKey } from './load-bytes.ts'
import { LONGEST_PAUSE_MS } from './try-again.ts'
import type { TaskRecord } from './task-record.ts'

export interface BlockedOptions {
  marks: Pick<VersionMarks, 'get'>
  /** What is wrong with a version in the storage. */
  troubleOf(versionKey: string): string | null
  /** What a task waits for of other tasks. */
  dependencyOf(task: Blockable): WaitingReason | null
}

/** What of a task says whether it may start. */
export type Blockable = Pick<TaskRecord, 'id' | 'batch' | 'wish' | 'notBefore' | 'instance' | 'after' | 'environment' | 'version'>

const NOT_BLOCKED: readonly WaitingReason[] = []

/** Why a task may not start yet, whatever the nodes have. Without a reason it is the same array each time. */
export function blockedBy(task: Blockable, now: number, { marks, troubleOf, dependencyOf }: BlockedOptions): readonly WaitingReason[] {
  const reasons: (WaitingReason | null)[] = [
    task.wish === 'hold' ? { code: 'hold', message: `It is held. "hakuriver task release ${task.id}" lets it go.` } : null,
    notYet(task, now),
    task.after.length === 0 ? null : dependencyOf(task),
    ofVersion(task, marks, troubleOf),
  ]
  const found = reasons.filter((reason) => reason !== null)
  return found.length === 0 ? NOT_BLOCKED : found
}

/** So many of the batch hold room as may. `lost`: those of them that may come back with their nodes, and count until that is known. */
export function limitReason(parallel: number, lost: readonly Pick<TaskRecord, 'node'>[] = []): WaitingReason {
  if (lost.length === 0) return { code: 'limit', message: `${parallel} of the batch run at a time, and so many do.` }
  const nodes = [...new Set(lost.flatMap(({ node }) => node ?? []))].sort()
  const silent = `${plural('node', nodes.length)} ${nodes.join(', ')}, which ${plural('does', nodes.length, 'do')} not answer`
  return { code: 'limit', message: `${parallel} of the batch run at a time. ${lost.length} of them may still run on the ${silent}: "hakuriver client remove ${nodes[0]}" gives them up.` }
}

// --- internal ---

function notYet({ notBefore, instance }: Blockable, now: number): WaitingReason | null {
  if (notBefore === null || notBefore <= now) return null
  // The clock was set back: no pause is so long.
  if (instance > 0 && notBefore > now + LONGEST_PAUSE_MS) return null
  const time = new Date(notBefore).toISOString()
  return instance === 0 ? { code: 'not_before', message: `It starts at ${time}, or later.` } : { code: 'retry_backoff', message: `Its last execution did not succeed. It is tried again at ${time}.` }
}

function ofVersion({ environment, version }: Blockable, marks: Pick<VersionMarks, 'get'>, troubleOf: BlockedOptions['troubleOf']): WaitingReason | null {
  if (environment === null || version === null) return null
  const trouble = troubleOf(versionKey({ environment, version }))
  if (trouble !== null) return { code: 'environment_missing', message: trouble }
  const { damage, suspectedBy } = marks.get(environment, version)
  if (damage === null) return null
  if (suspectedBy === null) return { code: 'environment_damaged', message: damage }
  return { code: 'environment_suspected', message: `Waits for the Host to read its version: the node ${suspectedBy} says that it is damaged.` }
}
