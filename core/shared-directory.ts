import { access, stat } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from './errors.ts'
import type { SharedPaths } from './paths.ts'

/**
 * Checks that the shared directory is there, and that it is the one that a Host has marked: what is left of a mount that is gone is an empty
 * directory, and no error of any file system.
 *
 * @throws `storage.unavailable`
 */
export async function assertSharedDirectory({ root, mark }: Pick<SharedPaths, 'root' | 'mark'>): Promise<void> {
  const isDirectory = await stat(root).then((stats) => stats.isDirectory(), () => false)
  if (!isDirectory) throw new HakuError('storage.unavailable', `The shared directory ${root} does not exist on this machine. Mount it, or set paths.shared_dir.`)
  await assertMark(mark)
}

/** The half of {@link assertSharedDirectory} that costs one look. @throws `storage.unavailable` */
export async function assertMark(mark: string): Promise<void> {
  try {
    await access(mark)
  } catch (error) {
    const reason = systemErrorCode(error) === 'ENOENT' ? 'is not there' : `can not be read: ${errorMessage(error)}`
    throw new HakuError('storage.unavailable', `The file ${mark}, which the Host puts into the shared directory, ${reason}. Is the shared directory mounted on this machine, and has the Host been started with it?`, { cause: error })
  }
}
