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
  return { source, target, readOnly: mode === 'ro' }
}

/** Whether `source` is one of `roots` or lies below one. */
export function isMountAllowed(source: string, roots: readonly string[]): boolean {
  return roots.some((root) => source === root || source.startsWith(root.endsWith('/') ? root : `${root}/`))
}

// --- internal ---

function isPlainAbsolute(path: string): boolean {
  return path.startsWith('/') && !path.includes('\0') && posix.normalize(path) === path
}
