import { mkdir, stat } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'

/**
 * Makes a directory that tasks need, unless it is there.
 *
 * @param recursive MUST be left out in the shared directory: one that is missing is a mount that is missing
 * @throws `storage.unavailable`
 */
export async function makeDirectory(path: string, { recursive = false } = {}): Promise<void> {
  try {
    await stat(path)
  } catch {
    // What is wrong with it shows when it is made.
    await mkdir(path, { recursive }).catch((error: unknown) => {
      if (systemErrorCode(error) === 'EEXIST') return
      throw new HakuError('storage.unavailable', `The directory ${path} can not be made on this node: ${errorMessage(error)}. Is the shared directory mounted?`, { cause: error })
    })
  }
}
