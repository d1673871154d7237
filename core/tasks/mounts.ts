import { realpath } from 'node:fs/promises'
import { posix } from 'node:path'
import { HakuError } from '../errors.ts'
import { quote } from '../names.ts'

/** A directory or file of the node, seen in the container. */
export interface Mount {
  source: string
  target: string
  readOnly: boolean
}

/**
 * Reads `SRC:DST[:ro|rw]` as `docker run -v` does for bind mounts. Both paths must be absolute and plain (no `..`).
 *
 * @throws `task.command_invalid`
 */
export function parseMount(text: string): Mount {
  const [source, target, mode = 'rw', ...rest] = text.split(':')
  if (!source || !target || rest.length > 0 || !isPlainAbsolute(source) || !isPlainAbsolute(target) || !['ro', 'rw'].includes(mode)) {
    throw new HakuError('task.command_invalid', `${quote(text)} is not a mount. Write /path/on/node:/path/in/container or /path/on/node:/path/in/container:ro, with absolute paths.`)
  }
  if (target === '/') throw new HakuError('task.command_invalid', `${quote(text)} would hide the whole container. Mount it below "/", such as ${source}:/data.`)
  return { source, target, readOnly: mode === 'ro' }
}

/** An Engine refuses two mounts in one place. @throws `task.command_invalid` */
export function assertDistinctTargets(mounts: readonly Mount[]): void {
  const targets = mounts.map(({ target }) => target.replace(/\/$/, ''))
  const twice = targets.find((target, index) => targets.indexOf(target) < index)
  if (twice !== undefined) throw new HakuError('task.command_invalid', `Two mounts have the target ${quote(twice)}. Give one of them another; those of docker.additional_mounts in the configuration of the Host count too.`)
}

/** Whether `source` is one of `roots` or lies below one. */
export function isMountAllowed(source: string, roots: readonly string[]): boolean {
  return roots.some((root) => source === root || source.startsWith(root.endsWith('/') ? root : `${root}/`))
}

/**
 * Refuses what a user may not mount.
 *
 * @param real where `source` leads on this machine, links followed: one inside an allowed directory leads nowhere else
 * @throws `task.mount_not_allowed`
 */
export async function assertMountAllowed(source: string, real: string, roots: readonly string[]): Promise<void> {
  const realRoots = await Promise.all(roots.map((root) => realpath(root).catch(() => root)))
  if (isMountAllowed(source, roots) && isMountAllowed(real, [...roots, ...realRoots])) return
  const allowed = roots.length > 0 ? `Mounts may be below ${roots.join(', ')}` : 'No mounts are allowed here'
  const what = source === real ? quote(source) : `${quote(source)}, which leads to ${quote(real)},`
  throw new HakuError('task.mount_not_allowed', `${what} may not be mounted. ${allowed}; docker.allowed_mounts in the configuration of the Host says so.`)
}

// --- internal ---

function isPlainAbsolute(path: string): boolean {
  return path.startsWith('/') && !path.includes('\0') && posix.normalize(path) === path
}
