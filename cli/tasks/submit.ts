import { randomUUID } from 'node:crypto'
import type { Task } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { plural } from '#core/words.ts'
import { leave, onInterrupt } from '../framework/interrupts.ts'
import { readOption } from '../framework/options.ts'
import { tell } from '../framework/output.ts'
import { usage } from '../framework/parse.ts'
import { isLinkError, isNeverSent, rejoin } from '../framework/rejoin.ts'

/** The given key, or one of its own. @throws `usage.invalid` */
export function submissionKey(given?: string): string {
  return readOption('--key', given, parseKey) ?? randomUUID()
}

/**
 * Submits by `call`, and again when the link is lost before the answer: by `key` the Host makes nothing twice. When it ends without an
 * answer, by an interrupt or because the Host stays away, it says that nobody knows, and what to do.
 */
export async function submit(key: string, call: () => Promise<{ tasks: Task[] }>): Promise<Task[]> {
  const again = `Give the same command with --key ${key}: then nothing is submitted twice.`
  const release = onInterrupt((signal) => {
    tell(`The Host has not answered yet: whether it has the submission is not known. ${again}`)
    leave(signal)
  })
  let isUnknown = false
  try {
    const { tasks } = await call().catch((error: unknown) => {
      if (!isLinkError(error) || isNeverSent(error)) throw error
      isUnknown = true
      tell(`${errorMessage(error)} Submitting again with the same key.`)
      return rejoin(call, { reached: true })
    })
    return tasks
  } catch (error) {
    if (!isUnknown || !isLinkError(error)) throw error
    throw new HakuError(isHakuError(error) ? error.code : 'host.unreachable', `${errorMessage(error)} Whether it has the submission is not known. ${again}`, { cause: error })
  } finally {
    release()
  }
}

// --- internal ---

function parseKey(text: string): string {
  if (text.length < 8 || text.length > 64) throw usage(`${quote(text)} has ${text.length} ${plural('character', text.length)}; a key has 8 to 64.`)
  return text
}
