import { readFile } from 'node:fs/promises'
import type { Positions } from '../output-files.ts'

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
