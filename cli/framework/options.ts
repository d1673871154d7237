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
  const field = String(issue.path[0] ?? '')
  const given = value[field]
  const shown = typeof given === 'string' ? ` ${quote(given)}` : ''
  // Our own checks finish the sentence that the option begins; zod's are sentences.
  throw usage(`${options[field] ?? field}${shown}${/^[a-z]/.test(issue.message) ? '' : ':'} ${issue.message}.`)
}
