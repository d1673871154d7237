import { realpath } from 'node:fs/promises'
import { assertMountAllowed, type Mount, parseMount } from '#core/tasks/mounts.ts'

/**
 * Reads what a user asks to mount, and refuses what the configuration does not allow. Links are followed where the path exists on this
 * machine; a node does it again.
 *
 * @throws `task.command_invalid`, `task.mount_not_allowed`
 */
export async function resolveUserMounts(texts: readonly string[], roots: readonly string[]): Promise<Mount[]> {
  const mounts = texts.map(parseMount)
  for (const { source } of mounts) await assertMountAllowed(source, await realpath(source).catch(() => source), roots)
  return mounts
}
