import { readFile } from 'node:fs/promises'
import { TOO_LONG } from '../../linux/command.ts'
import type { Positions } from '../output-files.ts'

/**
 * What was said about a command that could not be executed although its container was started: one line on standard error.
 *
 * - The container's init process says it, with the shell's exit code. A shell in the task that does not find a command exits alike, and
 *   says it differently.
 * - The runtime says it, with an exit code of its own, when the kernel refuses the whole as too long.
 */
export async function readInitFailure(exitCode: number, sizes: Readonly<Positions>, stderrFile: string): Promise<string | undefined> {
  if (!EXIT_CODES.includes(exitCode) || sizes.stdout > 0 || sizes.stderr > MAX_BYTES) return undefined
  // Only words for the message depend on it.
  const text = await readFile(stderrFile, 'utf8').catch(() => '')
  if (TOO_LONG_RE.test(text)) return TOO_LONG
  return exitCode === 126 || exitCode === 127 ? INIT_RE.exec(text)?.groups?.['words'] : undefined
}

// --- internal ---

/** Of the shell, and of runc before and after its version 1.2. */
const EXIT_CODES = [126, 127, 1, 255]
const MAX_BYTES = 4096 + 256
const INIT_RE = /^\[FATAL\s+tini \(\d+\)\] (?<words>exec .* failed: .*)$/m
/** runc, and runc before its version 1.1. */
const TOO_LONG_RE = /^(?:exec \S+|standard_init_linux\.go:\d+: exec user process caused): "?argument list too long"?\n?$/
