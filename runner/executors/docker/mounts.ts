import { stat } from 'node:fs/promises'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { LOCAL_TEMP_MOUNT, SHARED_MOUNT } from '#core/paths.ts'
import { type Mount, parseMount } from '#core/tasks/mounts.ts'
import { makeDirectory } from '../make-directory.ts'
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
    await makeDirectory(paths.data)
    await makeDirectory(localTempDir, { recursive: true })
    for (const mount of asked) await assertSource(mount)
    return [...own.filter(({ target }) => !asked.some((mount) => mount.target === target)), ...asked]
  } catch (error) {
    throw new TaskFailure('start_failed', error)
  }
}

// --- internal ---

async function assertSource({ source, target }: Mount): Promise<void> {
  await stat(source).catch((error: unknown) => {
    throw new HakuError('task.command_invalid', `The mount ${quote(source)} (seen as ${quote(target)}) is not there on this node: ${systemErrorCode(error) ?? errorMessage(error)}. Create it on the node, or leave the mount out.`, { cause: error })
  })
}
