import type { Task } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { leave, onInterrupt } from '../framework/interrupts.ts'
import { tell } from '../framework/output.ts'
import { isLinkError, isNeverSent, rejoin } from '../framework/rejoin.ts'

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
