import { accessSync, constants, mkdirSync, statSync } from 'node:fs'
import { HakuError, errorMessage } from '#core/errors.ts'
import type { SharedPaths } from '#core/paths.ts'

/**
 * Makes the directories below the shared directory. The shared directory itself is never made: one that is missing is a
 * mount that is missing, and what is written there would be on the wrong disk.
 *
 * @throws `storage.unavailable`
 */
export function prepareSharedDirectory(paths: SharedPaths): void {
  assertSharedDirectory(paths.root)
  try {
    for (const directory of [paths.tarballs, paths.outputs, paths.errors, paths.data]) mkdirSync(directory, { recursive: true })
    accessSync(paths.tarballs, constants.W_OK)
  } catch (error) {
    throw new HakuError('storage.unavailable', `The shared directory ${paths.root} can not be written: ${errorMessage(error)}. Check its owner and how it is mounted.`, { cause: error })
  }
}

/** @throws `storage.unavailable` */
export function assertSharedDirectory(root: string): void {
  const isDirectory = statSync(root, { throwIfNoEntry: false })?.isDirectory() ?? false
  if (!isDirectory) throw new HakuError('storage.unavailable', `The shared directory ${root} does not exist. Mount it, or set paths.shared_dir.`)
}
