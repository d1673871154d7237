import type { ErrorKind } from '#core/errors.ts'

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  hostUnreachable: 5,
  interrupted: 130,
  /** The reader of our output went away: what a shell shows for a program that SIGPIPE ended. */
  brokenPipe: 141,
  terminated: 143,
} as const

/** The one switch error kind → exit code. */
export function exitCodeOf(kind: ErrorKind): number {
  switch (kind) {
    case 'invalid':
      return exitCodes.usage
    case 'not_found':
      return exitCodes.notFound
    case 'unauthenticated':
    case 'forbidden':
      return exitCodes.refused
    case 'unreachable':
      return exitCodes.hostUnreachable
    case 'method_not_allowed':
    case 'conflict':
    case 'too_large':
    case 'range_not_satisfiable':
    case 'unsupported_media_type':
    case 'misdirected':
    case 'impossible':
    case 'cancelled':
    case 'unavailable':
    case 'internal':
      return exitCodes.failed
    default:
      return kind satisfies never
  }
}
