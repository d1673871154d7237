import type { TarEntry } from '#core/tarballs/tar/entry.ts'
import { readTar } from '#core/tarballs/tar/read.ts'
import { OPAQUE_NAME, WHITEOUT_PREFIX } from '../capture/whiteouts.ts'

/** The two file systems that are compared. */
export type Side = 'before' | 'after'
export const SIDES: readonly Side[] = ['before', 'after']

/** A file as a layer has it. Strings are latin1, a character for each byte, as in {@link TarEntry}. */
export interface FileRecord extends Pick<TarEntry, 'mode' | 'uid' | 'gid' | 'size' | 'target' | 'major' | 'minor'> {
  type: Exclude<TarEntry['type'], 'link'>
  /** Digest of the layer, and the path in it under which the content lies: another one for a hard link. */
  layer: string
  source: string
  /** Extended attributes, sorted. */
  xattrs: string
}

/**
 * A name in both file systems at once. What comes from a layer that both have is the same object on both sides, so that a
 * million unchanged files cost one record each, and a look.
 */
export interface FileNode {
  before?: FileRecord | undefined
  after?: FileRecord | undefined
  children?: Map<string, FileNode>
}

/** Puts a layer on top of what is there on these sides: whiteouts first, since they mean the layers below. */
export async function applyLayer(root: FileNode, { digest, source, sides, signal }: { digest: string; source: AsyncIterable<Uint8Array>; sides: readonly Side[]; signal: AbortSignal }): Promise<void> {
  const records = new Map<string, FileRecord>()
  const links: TarEntry[] = []
  for await (const { entry } of readTar(source)) {
    signal.throwIfAborted()
    const { directory, name } = splitPath(entry.path)
    if (name === OPAQUE_NAME) clearBelow(findNode(root, directory), sides)
    else if (name.startsWith(WHITEOUT_PREFIX)) {
      // Further names that begin like this are notes of old storage drivers.
      if (!name.startsWith(`${WHITEOUT_PREFIX}${WHITEOUT_PREFIX}`)) clear(findNode(root, [...directory, name.slice(WHITEOUT_PREFIX.length)]), sides)
    } else if (entry.type === 'link') links.push(entry)
    else records.set(entry.path, toRecord(digest, entry))
  }
  for (const [path, record] of records) put(root, path, record, sides)
  for (const { path, target } of links) {
    const linked = records.get(target) ?? findNode(root, partsOf(target))?.[sides[0] ?? 'after']
    if (linked) put(root, path, linked, sides)
  }
}

/** The node under these names, if there is one. */
export function findNode(root: FileNode, parts: readonly string[]): FileNode | undefined {
  let node: FileNode | undefined = root
  for (const part of parts) node = node?.children?.get(part)
  return node
}

export function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

/** Whether anything is there on this side, the node itself or something below. */
export function isThere(node: FileNode, side: Side): boolean {
  return node[side] !== undefined || hasChildren(node, side)
}

export function hasChildren(node: FileNode, side: Side): boolean {
  for (const child of node.children?.values() ?? []) if (isThere(child, side)) return true
  return false
}

/** Every node with its path, parents first, in the order of the names' bytes. */
export function* walk(node: FileNode, path = ''): Generator<{ path: string; name: string; node: FileNode }> {
  const children = [...(node.children ?? [])].sort(([left], [right]) => (left < right ? -1 : 1))
  for (const [name, child] of children) {
    const childPath = path === '' ? name : `${path}/${name}`
    yield { path: childPath, name, node: child }
    yield* walk(child, childPath)
  }
}

// --- internal ---

function splitPath(path: string): { directory: string[]; name: string } {
  const parts = partsOf(path)
  return { directory: parts.slice(0, -1), name: parts.at(-1) ?? '' }
}

function toRecord(layer: string, { path, type, mode, uid, gid, size, target, major, minor, xattrs }: TarEntry): FileRecord {
  if (type === 'link') throw new Error(`${path} is a hard link`)
  const attributes = [...xattrs].sort(([left], [right]) => (left < right ? -1 : 1))
  return { layer, source: path, type, mode, uid, gid, size, target, major, minor, xattrs: attributes.length === 0 ? '' : JSON.stringify(attributes) }
}

function put(root: FileNode, path: string, record: FileRecord, sides: readonly Side[]): void {
  let node = root
  for (const part of partsOf(path)) {
    node.children ??= new Map()
    let child = node.children.get(part)
    if (!child) {
      child = {}
      node.children.set(part, child)
    }
    node = child
  }
  if (record.type !== 'directory') clearBelow(node, sides)
  for (const side of sides) node[side] = record
}

function clear(node: FileNode | undefined, sides: readonly Side[]): void {
  if (!node) return
  for (const side of sides) node[side] = undefined
  clearBelow(node, sides)
}

function clearBelow(node: FileNode | undefined, sides: readonly Side[]): void {
  for (const child of node?.children?.values() ?? []) clear(child, sides)
}
