import { type HakuError, isHakuError } from '#core/errors.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import { reportError } from './report.ts'

export interface Tried<T> {
  results: T[]
  /** That of the worst failure. */
  code: number
}

/**
 * Does something to each of several, whatever becomes of the others: each failure is told at once. A single one throws instead, and so
 * does what would fail for all of them.
 */
export async function tryAll<T>(names: readonly string[], { program, json }: { program: string; json: boolean }, work: (name: string) => Promise<T>): Promise<Tried<T>> {
  const tried: Tried<T> = { results: [], code: exitCodes.ok }
  for (const name of names) {
    try {
      tried.results.push(await work(name))
    } catch (error) {
      if (names.length === 1 || !isOfOne(error)) throw error
      tried.code = Math.max(tried.code, reportError(error, { program, command: program, json }))
    }
  }
  return tried
}

// --- internal ---

function isOfOne(error: unknown): error is HakuError {
  return isHakuError(error) && ([exitCodes.failed, exitCodes.usage, exitCodes.notFound] as number[]).includes(exitCodeOf(error.kind)) && !isHakuError(error, 'host.stopping', 'internal.error')
}
