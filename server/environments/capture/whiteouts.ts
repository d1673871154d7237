import { HakuError } from '#core/errors.ts'
import type { TarEntry } from '#core/tarballs/tar/entry.ts'
import { parentOf } from './tree.ts'

/** How a layer says that something below it does not show any more: OCI image-spec `layer.md`, "Whiteouts". */
export const WHITEOUT_PREFIX = '.wh.'

/** The name that stands in a directory of which nothing below shows. */
export const OPAQUE_NAME = '.wh..wh..opq'

export function opaqueEntry(directory: string): TarEntry {
  return emptyFile(`${directory}/${OPAQUE_NAME}`)
}

export function whiteoutEntry(deleted: string): TarEntry {
  const parent = parentOf(deleted)
  if (deleted === '' || deleted.endsWith('/')) throw new HakuError('internal.error', 'A layer was to delete a path without a name')
  return emptyFile(parent === '' ? `${WHITEOUT_PREFIX}${deleted}` : `${parent}/${WHITEOUT_PREFIX}${deleted.slice(parent.length + 1)}`)
}

/** Whether a name in this path is one of those that mean something else in a layer. */
export function isReserved(path: string): boolean {
  return path.split('/').some((name) => name.startsWith(WHITEOUT_PREFIX))
}

/** The path that an entry of a layer deletes; `undefined` if it is no whiteout. */
export function whiteoutTarget(path: string): string | undefined {
  const parent = parentOf(path)
  const name = parent === '' ? path : path.slice(parent.length + 1)
  if (!name.startsWith(WHITEOUT_PREFIX) || name === OPAQUE_NAME) return undefined
  return parent === '' ? name.slice(WHITEOUT_PREFIX.length) : `${parent}/${name.slice(WHITEOUT_PREFIX.length)}`
}

// --- internal ---

function emptyFile(path: string): TarEntry {
  return { path, type: 'file', mode: 0, uid: 0, gid: 0, size: 0, mtime: '0', target: '', major: 0, minor: 0, xattrs: new Map() }
}
