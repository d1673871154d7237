import { isHakuError } from '#core/errors.ts'
import { readCommand, sendSignal } from '../../linux/proc.ts'
import { containerPids } from '../../linux/container-pids.ts'

/**
 * Whether an Engine refuses a start because it began one before, and forgot.
 *
 * One that is restarted in the middle of a start takes the container for one that was never started. It can never start it: its
 * runtime has the id already, and holds a process that waits for a word to become the command. Seen with Docker 20.10.
 */
export function isHalfStarted(error: unknown): boolean {
  return isHakuError(error, 'engine.failed', 'engine.conflict') && WORDS_RE.test(error.message)
}

/**
 * Ends what the runtime holds of such a container. Nobody else would.
 *
 * @returns whether the command itself ran
 */
export function endHalfStarted(containerId: string): boolean {
  const pids = containerPids(containerId)
  const hadBegun = pids.some((pid) => readCommand(pid)[1] !== RUNTIME_INIT)
  for (const pid of pids) sendSignal(pid, 'SIGKILL')
  return hadBegun
}

// --- internal ---

const WORDS_RE = /: (?:task \S+ already exists|task \S+: already exists|id already in use|failed to start shim: mkdir \S+: file exists(?:: unknown)?)$/
/** `runc init`: what waits to become the command. */
const RUNTIME_INIT = 'init'
