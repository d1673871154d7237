import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Spool, SpooledLayer } from '#core/tarballs/spool.ts'
import { encodeEntry } from '#core/tarballs/tar/encode.ts'
import { END_OF_ARCHIVE, padding, type TarEntry } from '#core/tarballs/tar/entry.ts'
import { readTar } from '#core/tarballs/tar/read.ts'
import type { LayerChanges } from './changes.ts'
import { type Kind, markOpaque, parentOf, type Tree } from './tree.ts'
import { OPAQUE_NAME, opaqueEntry, whiteoutEntry, whiteoutTarget } from './whiteouts.ts'

/**
 * The state of a writable layer from the layer that an Engine committed of it, for Engines whose writable layers nobody else can read. In
 * place of what only a file system knows (inode, ctime), signatures have a digest of the content.
 */
export async function treeOfLayer(layer: SpooledLayer, signal?: AbortSignal): Promise<Tree> {
  const tree: Tree = new Map()
  const links = new Map<string, string[]>()
  const opaque: string[] = []
  for await (const { entry, content } of readTar(layer.open())) {
    signal?.throwIfAborted()
    const { path } = entry
    const deleted = whiteoutTarget(path)
    if (path.endsWith(OPAQUE_NAME)) opaque.push(parentOf(path))
    else if (deleted !== undefined) tree.set(deleted, 'w')
    else if (entry.type === 'link') links.set(entry.target, [...(links.get(entry.target) ?? []), path])
    else {
      const hash = createHash('sha256')
      for await (const chunk of content) hash.update(chunk)
      tree.set(path, signatureOf(entry, { names: 1, inode: '-', content: hash.digest('hex') }))
    }
  }
  for (const [target, names] of links) shareSignature(tree, target, names)
  for (const path of tree.keys()) addMissingParents(tree, path)
  for (const path of opaque) tree.set(path, markOpaque(tree.get(path) ?? DIRECTORY))
  return tree
}

/** A new layer of what changed, from the committed one that has everything. `undefined`: nothing has. */
export async function reduceLayer(layer: SpooledLayer, { entries, opaque, deleted }: LayerChanges, spool: Spool, signal?: AbortSignal): Promise<SpooledLayer | undefined> {
  if (entries.length + opaque.length + deleted.length === 0) return undefined
  const wanted = new Set(entries)
  const reduced = await spool.createLayer()
  const write = async (bytes: Uint8Array) => reduced.write(bytes)
  for await (const { entry, content } of readTar(layer.open())) {
    signal?.throwIfAborted()
    if (!wanted.has(entry.path)) continue
    await write(encodeEntry(entry))
    for await (const chunk of content) await write(chunk)
    await write(padding(entry.size))
  }
  for (const path of opaque) await write(encodeEntry(opaqueEntry(path)))
  for (const path of deleted) await write(encodeEntry(whiteoutEntry(path)))
  await write(END_OF_ARCHIVE)
  return reduced.end()
}

/** Whether a layer has any of these paths. */
export async function layerHasAny(layer: Readable, paths: ReadonlySet<string>): Promise<boolean> {
  for await (const { entry } of readTar(layer)) if (paths.has(entry.path)) return true
  return false
}

// --- internal ---

const KINDS: Record<TarEntry['type'], Kind> = { file: 'f', link: 'f', symlink: 'l', character: 'c', block: 'b', directory: 'd', fifo: 'p' }
/** Of a directory that the layer does not tell of, though of something in it. */
const DIRECTORY = 'd 755 0 0 0 0 0 - 0 -'

/** Fields as in `tree.ts`: kind, mode, owner, size, names, device, inode, time; then what else there is. */
function signatureOf(entry: TarEntry, { names, inode, content }: { names: number; inode: string; content: string }): string {
  const kind = KINDS[entry.type]
  const other = createHash('sha256').update(JSON.stringify([content, entry.target, [...entry.xattrs].sort()])).digest('base64')
  return [kind, entry.mode.toString(8), entry.uid, entry.gid, entry.size, kind === 'd' ? 0 : names, `${entry.major}:${entry.minor}`, inode, entry.mtime, other.replaceAll('/', '_')].join(' ')
}

/** All names of a file say how many they are and which one is the first, as its inode would. */
function shareSignature(tree: Tree, target: string, names: readonly string[]): void {
  const fields = (tree.get(target) ?? '').split(' ')
  fields[5] = String(names.length + 1)
  fields[7] = createHash('sha256').update(target).digest('base64').replaceAll('/', '_')
  for (const path of [target, ...names]) tree.set(path, fields.join(' '))
}

function addMissingParents(tree: Tree, path: string): void {
  for (let above = parentOf(path); above !== '' && !tree.has(above); above = parentOf(above)) tree.set(above, DIRECTORY)
}
