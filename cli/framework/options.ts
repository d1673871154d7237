import type { z } from 'zod'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { usage } from './parse.ts'

/** What `read` makes of an option's value, if it was given; what is wrong with it begins with the option's name. */
export function readOption<T>(option: string, text: string | undefined, read: (text: string) => T): T | undefined {
  if (text === undefined) return undefined
  try {
    return read(text)
  } catch (error) {
    throw isHakuError(error) ? new HakuError(error.code, `${option}${/^[A-Z]/.test(error.message) ? ':' : ''} ${error.message}`, { cause: error }) : usage(`${option} ${quote(text)}: ${errorMessage(error)}`, error)
  }
}

/**
 * Tells of a field that the contract refuses by the option that it came from, before the Host is asked.
 *
 * @param options field → option
 * @throws `usage.invalid`
 */
export function assertFields(schema: z.ZodType, value: Record<string, unknown>, options: Record<string, string>): void {
  const issue = schema.safeParse(value).error?.issues[0]
  if (!issue) return
  const [field = '', place] = issue.path.map(String)
  const given = value[field]
  // Of a list the one that is wrong, of named values the name.
  const part = Array.isArray(given) ? (given as unknown[])[Number(place)] : typeof given === 'string' ? given : place
  throw usage(`${options[field] ?? field}${typeof part === 'string' ? ` ${quote(part)}` : ''} ${wordsOf(issue)}.`)
}

// --- internal ---

/** The end of the sentence that the option begins. Our own checks have it; zod's do not. */
function wordsOf(issue: z.core.$ZodIssue): string {
  if (/^[a-z]/.test(issue.message)) return issue.message
  switch (issue.code) {
    case 'too_big':
      return { string: `has more than ${issue.maximum} characters`, array: `is given more than ${issue.maximum} times` }[issue.origin as string] ?? `is more than ${issue.maximum}`
    case 'too_small':
      return { string: `has fewer than ${issue.minimum} characters` }[issue.origin as string] ?? `is ${issue.inclusive === false ? 'not more' : 'less'} than ${issue.minimum}`
    case 'invalid_key':
      return issue.issues[0] ? wordsOf(issue.issues[0]) : 'has a name that is not valid'
    case 'invalid_format':
      return `is no valid ${issue.format === 'url' ? 'URL' : issue.format}`
    default:
      return `is not valid: ${issue.message}`
  }
}
