import type { TaskReport } from '#core/api/schemas.ts'
import { printable } from '#core/names.ts'
import type { TaskReason } from '#core/tasks/states.ts'
import type { TaskRecord } from '../state/state.ts'

export type Ending = Pick<TaskReport, 'state' | 'reason' | 'message' | 'exitCode'>

export interface EndFacts {
  record: Pick<TaskRecord, 'order' | 'wish' | 'isTimedOut'>
  /** `undefined`: what was running is gone, and nobody knows how it ended. */
  exitCode: number | undefined
  /** Why nobody knows its exit code, where that is known. */
  whyUnknown?: { message: string; reason?: TaskReason } | undefined
  /** What people should know of it beside its ending. */
  note?: string | undefined
  outOfMemory: boolean
  /** What was said about a command that could not be executed. */
  commandFailure: string | undefined
  /** Why output is missing. */
  lost: string | undefined
}

/** What the end of an execution means for its task. */
export function judgeEnd(facts: EndFacts): Ending {
  const ending = judge(facts)
  const lost = facts.lost === undefined ? undefined : `Output is missing: ${facts.lost}.`
  return { ...ending, message: [ending.message, facts.note, lost].filter(Boolean).join(' ') || null }
}

/** The ending of one that was to be ended, before or after it had begun. Whatever came first is why. */
export function wantedEnding({ order, isTimedOut }: EndFacts['record'], exitCode: number | null): Ending {
  if (!isTimedOut) return { state: 'killed', reason: 'user', message: null, exitCode }
  return { state: 'timed_out', reason: 'time_limit', message: `The task ran longer than its time limit of ${order.timeLimitSeconds} s. Submit it with a longer --time-limit.`, exitCode }
}

// --- internal ---

function judge({ record, exitCode, whyUnknown, outOfMemory, commandFailure }: EndFacts): Ending {
  if (record.wish === 'kill' || record.isTimedOut) return wantedEnding(record, exitCode ?? null)
  if (exitCode === undefined) return { state: 'failed', reason: whyUnknown?.reason ?? 'node_forgot', message: whyUnknown?.message ?? 'What ran the task was removed behind our back.', exitCode: null }
  if (exitCode === 0) return { state: 'succeeded', reason: null, message: null, exitCode }
  if (outOfMemory) {
    const { memoryBytes } = record.order
    const limit = memoryBytes === null ? 'the memory of the node' : `its memory limit of ${memoryBytes} bytes`
    return { state: 'out_of_memory', reason: 'memory_limit', message: `The task used more than ${limit}. Submit it with a larger --memory.`, exitCode }
  }
  // The exit codes of a shell: a container's runtime has others for its own failures.
  if (commandFailure !== undefined) return { state: 'failed', reason: 'command_not_found', message: `The command can not be run in this environment: ${printable(commandFailure)}.`, exitCode: exitCode === 127 ? 127 : 126 }
  return { state: 'failed', reason: 'exited', message: exitMessage(exitCode), exitCode }
}

function exitMessage(exitCode: number): string {
  return exitCode > 128 && exitCode <= 192 ? `The command was ended by signal ${exitCode - 128} (exit code ${exitCode}).` : `The command ended with exit code ${exitCode}.`
}
