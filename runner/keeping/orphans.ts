import { readdir } from 'node:fs/promises'
import type { Execution } from '#core/api/schemas.ts'
import { systemErrorCode } from '#core/errors.ts'
import { parseExecutionName } from '#core/paths.ts'
import type { RunnerState } from '../state/state.ts'

/** The execution that a file is named after, if this node's state does not know it or has done with it. */
export function orphanOf(name: string, state: Pick<RunnerState, 'find'>): Execution | undefined {
  const execution = parseExecutionName(name)
  const record = execution && state.find(execution)
  return !record || record.released !== null ? execution : undefined
}

/** Names of the directories of such executions, and whose they are. */
export async function listOrphans(directory: string, state: Pick<RunnerState, 'find'>): Promise<Map<string, Execution>> {
  return new Map((await listNames(directory)).flatMap((name) => {
    const execution = orphanOf(name, state)
    return execution ? [[name, execution]] : []
  }))
}

// --- internal ---

async function listNames(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return []
    throw error
  }
}
