import { isDirectory, kindOf, parentOf, type Tree } from './tree.ts'

/** What a new layer has to say so that, on top of the state before, the state now comes out. Paths in the order of the layer. */
export interface LayerChanges {
  /** Paths whose entries go in, parents before children. */
  entries: string[]
  /** Directories of which nothing that is below shows any more. */
  opaque: string[]
  /** Paths that are deleted. */
  deleted: string[]
}

/**
 * The difference between two states of one container's writable layer, `undefined` if it can not be told as a layer on top of the
 * state before: something that a layer below had, and that was hidden, shows again. A whole layer on the base image tells it.
 *
 * How overlayfs keeps its states is what decides here (kernel `Documentation/filesystems/overlayfs.rst`): a deleted path that a lower layer has
 * is a whiteout, a directory made where a lower layer had something is opaque, and every directory above a change is in the writable layer.
 *
 * @param before `undefined`: the empty state, the base image itself
 * @param now with all opaque directories marked
 */
export function diffTrees(before: Tree | undefined, now: Tree): LayerChanges | undefined {
  const changed = new Set<string>()
  const opaque = new Set<string>()
  const deleted = new Set<string>()

  for (const [path, signature] of now) {
    const old = before?.get(path)
    if (old === signature) continue
    const kind = kindOf(signature)
    if (kind === 's') continue
    if (kind === 'w') deleted.add(path)
    else changed.add(path)
    if (old !== undefined && kindOf(old) === 'D' && kind === 'd') return undefined
    if (hidesMore(old, signature)) opaque.add(path)
  }
  for (const [path, old] of before ?? []) {
    if (now.has(path)) continue
    const parent = parentOf(path)
    const above = now.get(parent)
    // Whatever replaced the directory above speaks for all that was in it.
    if (parent !== '' && !isDirectory(above)) continue
    // A whiteout where nothing is below would show in listings, as something that is not there.
    if (opaque.size > 0 && isBelow(path, opaque)) continue
    if (kindOf(old) === 'w') {
      if (above !== undefined && kindOf(above) === 'D') continue
      return undefined
    }
    if (kindOf(old) !== 's') deleted.add(path)
  }
  if (opaque.size > 0) addBelow(now, opaque, changed, deleted)
  addLinks(now, changed)
  addParents([...changed, ...deleted, ...opaque], changed)
  return { entries: sorted(changed), opaque: sorted(opaque), deleted: sorted(deleted) }
}

// --- internal ---

/** A directory that was made anew, or began to hide what is below it. */
function hidesMore(old: string | undefined, now: string): boolean {
  if (!isDirectory(now)) return false
  if (old === undefined || !isDirectory(old)) return kindOf(now) === 'D'
  return (kindOf(now) === 'D' && kindOf(old) === 'd') || inodeOf(old) !== inodeOf(now)
}

function inodeOf(signature: string): string | undefined {
  return signature.split(' ')[7]
}

/** An opaque directory hides all that was in it, so all that is in it now has to be told again. */
function addBelow(now: Tree, opaque: ReadonlySet<string>, changed: Set<string>, deleted: Set<string>): void {
  for (const [path, signature] of now) {
    if (!isBelow(path, opaque) || kindOf(signature) === 's') continue
    if (kindOf(signature) === 'w') deleted.delete(path)
    else changed.add(path)
  }
}

function isBelow(path: string, opaque: ReadonlySet<string>): boolean {
  for (let above = parentOf(path); above !== ''; above = parentOf(above)) if (opaque.has(above)) return true
  return false
}

/** Names of one file go together: one that is told without the others would be a file of its own. */
function addLinks(now: Tree, changed: Set<string>): void {
  const groups = new Map<string, string[]>()
  const told = new Set<string>()
  for (const [path, signature] of now) {
    const [kind, , , , , links, , inode = ''] = signature.split(' ')
    if (kind === 'd' || kind === 'D' || links === '1') continue
    groups.set(inode, [...(groups.get(inode) ?? []), path])
    if (changed.has(path)) told.add(inode)
  }
  for (const inode of told) for (const path of groups.get(inode) ?? []) if (kindOf(now.get(path) ?? '') !== 'w') changed.add(path)
}

/** Without them an Engine makes the directories above a change anew, as root's and with the time of now. */
function addParents(paths: readonly string[], changed: Set<string>): void {
  for (const path of paths) for (let above = parentOf(path); above !== '' && !changed.has(above); above = parentOf(above)) changed.add(above)
}

function sorted(paths: ReadonlySet<string>): string[] {
  return [...paths].sort((left, right) => (left < right ? -1 : 1))
}
