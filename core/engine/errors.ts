import { HakuError, errorMessage, systemErrorCode } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { printable } from '../names.ts'

/** What an Engine says when it refuses, in the order in which they are tried; the status alone decides the rest. */
const REFUSALS: readonly { status: number[]; words: RegExp; code: ErrorCode }[] = [
  { status: [404], words: /no such container/i, code: 'container.not_found' },
  { status: [404], words: /no such image|reference does not exist|manifest unknown|pull access denied|repository does not exist/i, code: 'image.not_found' },
  { status: [409], words: /name .* already in use/i, code: 'container.name_taken' },
  { status: [409], words: /is not running|is paused|is restarting/i, code: 'container.not_running' },
  { status: [400], words: /invalid reference format|repository name must be/i, code: 'image.reference_invalid' },
  { status: [500], words: /daemon is shutting down|containerd\.sock|transport is closing|code = unavailable/i, code: 'engine.unavailable' },
]

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'engine.invalid',
  404: 'engine.not_found',
  409: 'engine.conflict',
  422: 'engine.invalid',
  501: 'engine.invalid',
  502: 'engine.unavailable',
  503: 'engine.unavailable',
  504: 'engine.unavailable',
}

const NO_SPACE_RE = /no space left on device|disk quota exceeded/i

const HINTS: Readonly<Record<string, string>> = {
  EACCES: 'This user may not open it: add the user to the group docker, or run as root.',
  EPERM: 'This user may not open it: add the user to the group docker, or run as root.',
  ENOENT: 'There is no such socket. Is the Docker daemon running? Set DOCKER_HOST or [docker] socket if it listens elsewhere.',
  ECONNREFUSED: 'Nothing listens there. Is the Docker daemon running?',
  ENOTSOCK: 'That is not a socket. Set [docker] socket to the socket of the Docker daemon.',
  ECONNRESET: 'The connection broke. Was the Docker daemon stopped?',
  EPIPE: 'The connection broke. Was the Docker daemon stopped?',
  EAGAIN: 'Too many connections wait there. Is the Docker daemon stuck?',
  ETIMEDOUT: 'It does not react. Is the Docker daemon stuck?',
}

/** The error for an answer with an error status. `what` is what was wanted: `create the container my-env`. */
export function refusalError(status: number, words: string, what: string): HakuError {
  return new HakuError(refusalCode(status, words), `Could not ${what}. The Docker Engine says: ${printable(words.trim())}`)
}

/** The code for the Engine's own words, whether they came with a status or in the middle of a stream (as 500). */
export function refusalCode(status: number, words: string): ErrorCode {
  if (NO_SPACE_RE.test(words)) return 'storage.full'
  const known = REFUSALS.find((refusal) => refusal.status.includes(status) && refusal.words.test(words))
  return known?.code ?? BY_STATUS[status] ?? 'engine.failed'
}

/** An error of the connection as `engine.unavailable`; anything else as it is. */
export function connectionError(error: Error, socketPath: string): Error {
  const code = systemErrorCode(error)
  if (error instanceof HakuError || code === undefined) return error
  if (code.startsWith('HPE_')) {
    return new HakuError('engine.unavailable', `What listens at ${socketPath} is not a Docker Engine (${errorMessage(error)}).`, { cause: error })
  }
  const hint = HINTS[code]
  if (hint === undefined) return error
  return new HakuError('engine.unavailable', `The Docker Engine can not be reached at ${socketPath} (${code}). ${hint}`, { cause: error })
}
