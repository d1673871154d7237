import { mkdir, stat } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { LOCAL_TEMP_MOUNT, SHARED_MOUNT } from '#core/paths.ts'
import { type Mount, parseMount } from '#core/tasks/mounts.ts'
import type { ExecutorServices } from '../services.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'

/** What a task sees of its node: the data of the shared directory, a local directory, and what was asked for. */
export async function resolveMounts(run: TaskRun, { paths, localTempDir }: ExecutorServices): Promise<Mount[]> {
  const own = [
    { source: paths.data, target: SHARED_MOUNT, readOnly: false },
    { source: localTempDir, target: LOCAL_TEMP_MOUNT, readOnly: false },
  ]
  try {
    const asked = run.record.order.mounts.map((text) => parseMount(text))
    // Not recursive: a shared directory that is missing is a mount that is missing.
    await makeDirectory(paths.data, false)
    await makeDirectory(localTempDir, true)
    for (const mount of asked) await assertSource(mount)
    return [...own.filter(({ target }) => !asked.some((mount) => mount.target === target)), ...asked]
  } catch (error) {
    throw new TaskFailure('start_failed', error)
  }
}

// --- internal ---

async function makeDirectory(path: string, recursive: boolean): Promise<void> {
  try {
    await stat(path)
  } catch {
    await mkdir(path, { recursive }).catch((error: unknown) => {
      if (systemErrorCode(error) === 'EEXIST') return
      throw new HakuError('storage.unavailable', `The directory ${path} can not be made on this node: ${errorMessage(error)}. Is the shared directory mounted?`, { cause: error })
    })
  }
}

async function assertSource({ source, target }: Mount): Promise<void> {
  await stat(source).catch((error: unknown) => {
    throw new HakuError('task.command_invalid', `The mount ${quote(source)} (seen as ${quote(target)}) is not there on this node: ${systemErrorCode(error) ?? errorMessage(error)}. Create it on the node, or leave the mount out.`, { cause: error })
  })
}
