import { realpath } from 'node:fs/promises'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { type Mount, isMountAllowed, parseMount } from '#core/tasks/mounts.ts'

/**
 * Reads what a user asks to mount, and refuses what the configuration does not allow. Links are followed where the path
 * exists on this machine, so that a link inside an allowed directory leads nowhere else.
 *
 * @throws `task.command_invalid`, `task.mount_not_allowed`
 */
export async function resolveUserMounts(texts: readonly string[], roots: readonly string[]): Promise<Mount[]> {
  const mounts = texts.map(parseMount)
  for (const { source } of mounts) {
    const real = await realpath(source).catch(() => source)
    if (!isMountAllowed(source, roots) || !isMountAllowed(real, await realRoots(roots))) {
      const allowed = roots.length > 0 ? `Mounts may be below ${roots.join(', ')}` : 'No mounts are allowed here'
      throw new HakuError('task.mount_not_allowed', `${quote(source)} may not be mounted. ${allowed}; docker.allowed_mounts in the configuration of the Host says so.`)
    }
  }
  return mounts
}

// --- internal ---

function realRoots(roots: readonly string[]): Promise<string[]> {
  return Promise.all(roots.map(async (root) => [root, await realpath(root).catch(() => root)])).then((pairs) => pairs.flat())
}
