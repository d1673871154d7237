import { closeSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemErrorCode } from '#core/errors.ts'
import type { StartFailure } from '../linux/command.ts'
import type { ProcessId } from '../linux/proc.ts'

/**
 * What the Runner and those that keep executions in its place (supervisors, keepers) tell each other beyond their lives: files in the directory
 * of the execution, which `processPaths` names. Each is written once, whole. The writer may be older than the reader after an upgrade, so a file
 * says its format.
 */
export const FORMAT = 1

/** `started.json`, by whoever started it. */
export interface StartedProcess extends ProcessId {
  format: typeof FORMAT
  /** ISO 8601. */
  started: string
}

/** `ended.json`, by whoever had it last: its output is complete, and nothing of it runs any more. */
export interface EndedProcess {
  format: typeof FORMAT
  /** `null`: nobody knows, or it never started. */
  exitCode: number | null
  /** ISO 8601. */
  finished: string
  outOfMemory: boolean
  /** Why it never started. */
  failure: Pick<StartFailure, 'reason' | 'message'> | null
  /** What is to be told of the end beside the exit code. */
  note: string | null
}

/** The value in a file of this directory; `undefined`: it is not there yet. */
export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Writes a file so that it is there whole, or not at all, and survives a power cut. */
export function writeJson(file: string, value: unknown): void {
  const temporary = writeTemporary(file, value)
  renameSync(temporary, file)
  flush(dirname(file))
}

/** Like {@link writeJson}, for the first who comes. @returns whether it was us */
export function claim(file: string, value: unknown): boolean {
  const temporary = writeTemporary(file, value)
  try {
    linkSync(temporary, file)
    flush(dirname(file))
    return true
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false
    throw error
  } finally {
    rmSync(temporary, { force: true })
  }
}

// --- internal ---

/** Of one process alone: two may write the same file at once. */
function writeTemporary(file: string, value: unknown): string {
  const temporary = `${file}.${process.pid}.tmp`
  writeFileSync(temporary, JSON.stringify(value), { mode: 0o600 })
  flush(temporary)
  return temporary
}

function flush(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
