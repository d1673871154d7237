import { readFile } from 'node:fs/promises'
import type { TaskReport } from '#core/api/schemas.ts'
import { printable } from '#core/names.ts'
import type { TaskWish } from '#core/tasks/states.ts'
import type { Positions } from './output-files.ts'

export type Ending = Pick<TaskReport, 'state' | 'reason' | 'message' | 'exitCode'>

export interface EndFacts {
  wish: TaskWish
  /** `undefined`: the container was removed. */
  exitCode: number | undefined
  outOfMemory: boolean
  memoryBytes: number | null
  /** What the init process said about a command that it could not execute. */
  initFailure: string | undefined
  /** Why output is missing. */
  lost: string | undefined
}

/** What the end of a container means for its task. */
export function judgeEnd(facts: EndFacts): Ending {
  const ending = judge(facts)
  return facts.lost === undefined ? ending : { ...ending, message: [ending.message, `Output is missing: ${facts.lost}.`].filter(Boolean).join(' ') }
}

const INIT_FAILURE_RE = /^\[FATAL\s+tini \(\d+\)\] (?<words>exec .* failed: .*)$/m
const INIT_FAILURE_MAX_BYTES = 4096 + 256

/**
 * The container's init process reports a command that it can not execute with one line on standard error and the shell's
 * exit code. A shell in the task that does not find a command exits alike, and says it differently.
 */
export async function readInitFailure(exitCode: number, sizes: Readonly<Positions>, stderrFile: string): Promise<string | undefined> {
  if ((exitCode !== 126 && exitCode !== 127) || sizes.stdout > 0 || sizes.stderr > INIT_FAILURE_MAX_BYTES) return undefined
  // Only words for the message depend on it: the exit code stands.
  const text = await readFile(stderrFile, 'utf8').catch(() => '')
  return INIT_FAILURE_RE.exec(text)?.groups?.['words']
}

// --- internal ---

function judge({ wish, exitCode, outOfMemory, memoryBytes, initFailure }: EndFacts): Ending {
  if (wish === 'kill') return { state: 'killed', reason: 'user', message: null, exitCode: exitCode ?? null }
  if (exitCode === undefined) return { state: 'failed', reason: 'node_forgot', message: 'The container of the task was removed behind our back.', exitCode: null }
  if (exitCode === 0) return { state: 'succeeded', reason: null, message: null, exitCode }
  if (outOfMemory) {
    const limit = memoryBytes === null ? 'the memory of the node' : `its memory limit of ${memoryBytes} bytes`
    return { state: 'out_of_memory', reason: 'memory_limit', message: `The task used more than ${limit}. Submit it with a larger --memory.`, exitCode }
  }
  if (initFailure !== undefined) return { state: 'failed', reason: 'command_not_found', message: `The command can not be run in this environment: ${printable(initFailure)}.`, exitCode }
  return { state: 'failed', reason: 'exited', message: exitMessage(exitCode), exitCode }
}

function exitMessage(exitCode: number): string {
  return exitCode > 128 && exitCode <= 192 ? `The command was ended by signal ${exitCode - 128} (exit code ${exitCode}).` : `The command ended with exit code ${exitCode}.`
}
