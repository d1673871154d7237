import { realpath } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { LOCAL_TEMP_MOUNT, SHARED_MOUNT } from '#core/paths.ts'
import { assertMountAllowed, type Mount, parseMount } from '#core/tasks/mounts.ts'
import { makeDirectory } from '../make-directory.ts'
import type { ExecutorServices } from '../services.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'

/**
 * What a task sees of its node: the data of the shared directory, a local directory, and what was asked for.
 *
 * To be called right before the container is made, because what users ask for is judged by where it leads: they may put a link there while
 * an image is loaded. The container gets the path without links.
 */
export async function resolveMounts({ record: { order } }: TaskRun, { paths, localTempDir }: ExecutorServices): Promise<Mount[]> {
  const own = [
    { source: paths.data, target: SHARED_MOUNT, readOnly: false },
    { source: localTempDir, target: LOCAL_TEMP_MOUNT, readOnly: false },
  ]
  try {
    await makeDirectory(paths.data)
    await makeDirectory(localTempDir, { recursive: true })
    const asked: Mount[] = []
    for (const mount of order.mounts.map(parseMount)) {
      await findSource(mount)
      asked.push(mount)
    }
    for (const mount of order.userMounts.map(parseMount)) {
      const source = await findSource(mount)
      await assertMountAllowed(mount.source, source, order.allowedMounts)
      asked.push({ ...mount, source })
    }
    return [...own.filter(({ target }) => !asked.some((mount) => mount.target === target)), ...asked]
  } catch (error) {
    throw new TaskFailure('start_failed', error)
  }
}

// --- internal ---

/** Where it is, links followed. */
async function findSource({ source, target }: Mount): Promise<string> {
  return realpath(source).catch((error: unknown) => {
    throw new HakuError('task.command_invalid', `The mount ${quote(source)} (seen as ${quote(target)}) is not there on this node: ${systemErrorCode(error) ?? errorMessage(error)}. Create it on the node, or leave the mount out.`, { cause: error })
  })
}
