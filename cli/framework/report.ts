import { HakuError, errorMessage, isHakuError } from '#core/errors.ts'
import { problemOf } from '#core/http/problems.ts'
import { printable } from '#core/names.ts'
import { exitCodeOf } from './exit-codes.ts'

export interface ReportOptions {
  /** Who speaks: `hakuriver docker`. */
  program: string
  /** The command whose help may be of use. */
  command: string
  json: boolean
}

/**
 * Says on standard error what went wrong, in a line or two for people or as the problem document for programs, and returns
 * the exit code. A stack is for those who set `HAKURIVER_DEBUG`.
 */
export function reportError(error: unknown, { program, command, json }: ReportOptions): number {
  const known = isHakuError(error) ? error : new HakuError('internal.error', `${errorMessage(error)} (an error inside HakuRiver; HAKURIVER_DEBUG=1 shows where)`, { cause: error })
  if (json) process.stderr.write(`${JSON.stringify(problemOf(known))}\n`)
  else {
    process.stderr.write(`${program}: ${known.code === 'version.test_failed' ? withLines(known.message) : printable(known.message.replace(/\s*\n\s*/g, ' '))}\n`)
    if (known.code === 'usage.invalid') process.stderr.write(`Try "${command} --help".\n`)
  }
  if (process.env['HAKURIVER_DEBUG']) console.error(error)
  return exitCodeOf(known.kind)
}

// --- internal ---

/** The lines that a test of the user's printed stay lines. */
function withLines(message: string): string {
  return message.split('\n').map(printable).join('\n')
}
