import { accessSync, chmodSync, constants, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { HakuError, errorMessage } from '#core/errors.ts'
import { type SharedPaths, TASK_DIRECTORY_MODE } from '#core/paths.ts'

export interface StorageOwner {
  /** The Host's id, which the mark shows to people. */
  id: string
  /** File in the Host's own state: it has marked its shared directory. */
  stateFile: string
}

/**
 * Makes the directories below the shared directory, and marks it. The shared directory itself is never made: one that is missing is a
 * mount that is missing, and what is written there would be on the wrong disk. So would it be where a Host that has marked its
 * shared directory finds no mark.
 *
 * @throws `storage.unavailable`
 */
export function prepareSharedDirectory(paths: SharedPaths, owner: StorageOwner): void {
  assertDirectory(paths.root)
  if (existsSync(owner.stateFile) && !existsSync(paths.mark)) {
    throw new HakuError('storage.unavailable', `The shared directory ${paths.root} is not the one that this Host has used: its file ${paths.mark} is missing. Mount it and start the Host again. If it is meant to be a new one, remove ${owner.stateFile} first.`)
  }
  try {
    for (const directory of [paths.tarballs, paths.outputs, paths.errors]) mkdirSync(directory, { recursive: true })
    if (mkdirSync(paths.data, { recursive: true }) !== undefined) chmodSync(paths.data, TASK_DIRECTORY_MODE)
    accessSync(paths.tarballs, constants.W_OK)
    if (!existsSync(paths.mark)) writeFileSync(paths.mark, `${owner.id}\nHakuRiver knows its shared directory by this file. Do not remove it.\n`, { mode: 0o644 })
  } catch (error) {
    throw new HakuError('storage.unavailable', `The shared directory ${paths.root} can not be written: ${errorMessage(error)}. Check its owner and how it is mounted.`, { cause: error })
  }
  // Afterwards: a Host that dies between the two finds the mark and goes on.
  if (!existsSync(owner.stateFile)) writeFileSync(owner.stateFile, `${paths.root}\n`)
}

// --- internal ---

function assertDirectory(root: string): void {
  const isDirectory = statSync(root, { throwIfNoEntry: false })?.isDirectory() ?? false
  if (!isDirectory) throw new HakuError('storage.unavailable', `The shared directory ${root} does not exist. Mount it, or set paths.shared_dir.`)
}
