import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'

/** Says what hinders once, however often it is tried, and says when it is over. */
export interface ProblemLog {
  tell(error: unknown): void
  over(message: string): void
  current(): HakuError | undefined
}

export function createProblemLog(first?: HakuError): ProblemLog {
  let current = first
  let told: string | undefined
  return {
    tell(error) {
      current = isHakuError(error) ? error : new HakuError('internal.error', errorMessage(error), { cause: error })
      if (current.message === told) return
      told = current.message
      console.error(`[hakuriver] [runner] ${told} Trying again until it works.`)
    },
    over(message) {
      if (current) console.error(`[hakuriver] [runner] ${message}`)
      current = undefined
      told = undefined
    },
    current: () => current,
  }
}
