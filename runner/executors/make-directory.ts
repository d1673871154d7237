import { chmod, mkdir, stat } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'
import { TASK_DIRECTORY_MODE } from '#core/paths.ts'

/**
 * Makes a directory that tasks of all users write in, unless it is there.
 *
 * @param recursive MUST be left out in the shared directory: one that is missing is a mount that is missing
 * @throws `storage.unavailable`
 */
export async function makeDirectory(path: string, { recursive = false } = {}): Promise<void> {
  try {
    await stat(path)
  } catch {
    // What is wrong with it shows when it is made.
    await make(path, recursive).catch((error: unknown) => {
      throw new HakuError('storage.unavailable', `The directory ${path} can not be made on this node: ${errorMessage(error)}. Is the shared directory mounted?`, { cause: error })
    })
  }
}

// --- internal ---

async function make(path: string, recursive: boolean): Promise<void> {
  try {
    await mkdir(path, { recursive })
  } catch (error) {
    // Somebody was faster.
    if (systemErrorCode(error) === 'EEXIST') return
    throw error
  }
  // What mkdir is told goes through the umask.
  await chmod(path, TASK_DIRECTORY_MODE)
}
