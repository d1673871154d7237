import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { systemErrorCode } from '#core/errors.ts'
import { parseExecutionName, type ProcessPaths, processPaths } from '#core/paths.ts'
import { type EndedProcess, FORMAT, readJson } from '../../processes/files.ts'
import { identify, isAlive, type ProcessId } from '../../processes/proc.ts'
import { readOutput } from '../../processes/read-output.ts'
import type { RunnerState } from '../../state/state.ts'
import { OutputLost, type OutputStream } from '../executor.ts'

/** The files of an item: see `keeper/protocol.ts`. */

/** For one keeper. @returns whether it is ours now */
export function claimItem(paths: ProcessPaths): boolean {
  try {
    writeFileSync(paths.claim(1), JSON.stringify({ format: FORMAT, ...identify(process.pid) }), { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error
    return false
  }
}

/** For the next keeper. */
export function unclaimItem(paths: ProcessPaths): void {
  rmSync(paths.claim(1), { force: true })
}

/** Whether a keeper that lives has started it, or is about to. */
export function isKept(paths: ProcessPaths): boolean {
  const keeper = readJson<ProcessId>(paths.claim(1))
  return keeper !== undefined && isAlive(keeper)
}

export function readEnd(paths: ProcessPaths): EndedProcess | undefined {
  return readJson(paths.ended)
}

/** Not flushed: a machine that loses it has lost its containers too. */
export function writeEnd({ ended }: ProcessPaths, { exitCode, note }: Pick<EndedProcess, 'exitCode' | 'note'>): void {
  const end: EndedProcess = { format: FORMAT, exitCode, finished: new Date().toISOString(), outOfMemory: false, failure: null, note }
  const temporary = `${ended}.${process.pid}.tmp`
  writeFileSync(temporary, JSON.stringify(end), { mode: 0o600 })
  renameSync(temporary, ended)
}

/** What an item has printed. Its keeper may have been ended before it was all. */
export function readItemOutput(paths: ProcessPaths, options: { follow: boolean; closing: AbortSignal }): OutputStream {
  const { chunks, destroy } = readOutput(paths, { ...options, isOver: () => readEnd(paths) !== undefined })
  return { chunks: check(), destroy }

  async function* check() {
    yield* chunks
    const end = readEnd(paths)
    if (end && end.exitCode !== null && end.note !== null) throw new OutputLost(end.note)
  }
}

/** Removes the directories of items that this node's state does not know or has done with. */
export async function removeOrphanItems(items: string, state: Pick<RunnerState, 'find'>): Promise<void> {
  const names = await readdir(items).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return []
    throw error
  })
  for (const name of names) {
    const execution = parseExecutionName(name)
    const record = execution && state.find(execution)
    if (execution && (!record || record.released !== null)) await rm(processPaths(join(items, name)).directory, { recursive: true, force: true })
  }
}
