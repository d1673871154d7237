import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { systemErrorCode } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { type EndedProcess, FORMAT, readJson, type StartedProcess } from '../../keeping/files.ts'
import { identify, isAlive, type ProcessId } from '../../linux/proc.ts'
import { listOrphans } from '../../keeping/orphans.ts'
import { readOutput } from '../../keeping/read-output.ts'
import type { RunnerState } from '../../state/state.ts'
import type { OutputStream } from '../executor.ts'
import type { OomMark } from './oom-marks.ts'

/** The files of an item: see `keeper/protocol.ts`. */

/** Who has started an item, or is about to. */
export interface ItemClaim extends ProcessId {
  containerId: string
  mark: OomMark
}

/** For one keeper. @returns whether it is ours now */
export function claimItem(paths: ProcessPaths, claim: Pick<ItemClaim, 'containerId' | 'mark'>): boolean {
  try {
    writeFileSync(paths.claim(1), JSON.stringify({ format: FORMAT, ...identify(process.pid), ...claim }), { flag: 'wx', mode: 0o600 })
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

/** `undefined`: nobody has started it. */
export function readClaim(paths: ProcessPaths): ItemClaim | undefined {
  return readJson(paths.claim(1))
}

/** Whether the keeper that has it lives. */
export function isKept(paths: ProcessPaths): boolean {
  const keeper = readClaim(paths)
  return keeper !== undefined && isAlive(keeper)
}

/** Its main process. @param pid as this machine counts; `undefined`: it has ended already, or is not to be seen from here */
export function writeStart(paths: ProcessPaths, pid: number | undefined): void {
  const id = pid === undefined ? undefined : identify(pid)
  if (id) write(paths.started, { ...id, format: FORMAT, started: new Date().toISOString() } satisfies StartedProcess)
}

export function readStart(paths: ProcessPaths): StartedProcess | undefined {
  return readJson(paths.started)
}

export function readEnd(paths: ProcessPaths): EndedProcess | undefined {
  return readJson(paths.ended)
}

export function writeEnd({ ended }: ProcessPaths, { exitCode, note }: Pick<EndedProcess, 'exitCode' | 'note'>): void {
  write(ended, { format: FORMAT, exitCode, finished: new Date().toISOString(), outOfMemory: false, failure: null, note } satisfies EndedProcess)
}

/** What an item has printed. */
export function readItemOutput(paths: ProcessPaths, options: { follow: boolean; closing: AbortSignal }): OutputStream {
  return readOutput(paths, { ...options, isOver: () => readEnd(paths) !== undefined })
}

/** Removes the directories of items that this node's state does not know or has done with. */
export async function removeOrphanItems(items: string, state: Pick<RunnerState, 'find'>): Promise<void> {
  for (const name of (await listOrphans(items, state)).keys()) await rm(join(items, name), { recursive: true, force: true })
}

// --- internal ---

/** Not flushed: a machine that loses it has lost its containers too. */
function write(file: string, value: unknown): void {
  const temporary = `${file}.${process.pid}.tmp`
  writeFileSync(temporary, JSON.stringify(value), { mode: 0o600 })
  renameSync(temporary, file)
}
