import { existsSync } from 'node:fs'
import { HakuError } from '#core/errors.ts'
import { printable, quote } from '#core/names.ts'
import type { Spool, SpooledLayer } from '#core/tarballs/spool.ts'
import { encodeEntry } from '#core/tarballs/tar/encode.ts'
import { END_OF_ARCHIVE, padding, type TarEntry } from '#core/tarballs/tar/entry.ts'
import { diffTrees, type LayerChanges } from './changes.ts'
import { readTree } from './read-tree.ts'
import { isDirectory, markOpaque, scanTree, sizeOf, type Tree } from './tree.ts'
import { isReserved, opaqueEntry, whiteoutEntry } from './whiteouts.ts'

export interface CaptureOptions {
  /** The container's writable layer on this machine's disk. The container MUST NOT run. */
  upperDir: string
  /** The writable layer as the version before had it, or `undefined`: take the whole layer. */
  before: Tree | undefined
  /** Whether the whole layer is to be taken all the same, now that one knows what is in it. */
  startsAnew?: (tree: Tree) => boolean
  spool: Spool
  signal?: AbortSignal | undefined
  /** Bytes of files to take, known once all were looked at. Called before anything is read. */
  onSize?: (bytes: number) => Promise<void>
  onProgress?: ((bytes: number) => void) | undefined
}

export interface Capture {
  /** The state that was captured, to compare with the next time. */
  tree: Tree
  /** `undefined`: nothing has changed. */
  layer: SpooledLayer | undefined
  /** The layer stands on the base image, not on the version before. */
  isWhole: boolean
}

/** Thrown where a writable layer holds what only its Engine understands. */
export class NotCapturable extends Error {}

/**
 * Takes what changed in a container's writable layer since the version before, as a layer, reading only files that changed.
 *
 * @throws `storage.full`, {@link NotCapturable}
 */
export async function captureChanges({ upperDir, before, startsAnew, spool, signal, onSize, onProgress }: CaptureOptions): Promise<Capture> {
  const tree = await scanTree(upperDir, signal)
  await markOpaqueDirectories(upperDir, { before, tree, signal })
  const stacked = startsAnew?.(tree) ? undefined : diffTrees(before, tree)
  const isWhole = before === undefined || stacked === undefined
  const changes = stacked ?? diffTrees(undefined, tree)
  if (!changes) throw new HakuError('internal.error', 'A whole layer can always be told')
  if (isEmpty(changes)) return { tree, layer: undefined, isWhole }
  assertSayable(changes)
  await onSize?.(changes.entries.reduce((sum, path) => sum + sizeOf(tree.get(path) ?? ''), 0))
  return { tree, layer: await writeLayer(upperDir, changes, { spool, signal, onProgress }), isWhole }
}

/** Whether this machine can read that directory: the Engine is on it, and we are root. */
export function canReadUpperDir(upperDir: string | undefined): upperDir is string {
  return upperDir !== undefined && process.getuid?.() === 0 && existsSync(upperDir)
}

// --- internal ---

const OVERLAY_XATTRS = 'trusted.overlay.'
/** What overlayfs writes for itself and what means nothing elsewhere. The kernel of the node labels by its own policy. */
const LEFT_OUT = [OVERLAY_XATTRS, 'user.overlay.', 'security.selinux', 'security.ima', 'security.evm']
/** With these the content of a path is somewhere else. */
const NOT_CAPTURABLE = ['redirect', 'metacopy'].map((name) => `${OVERLAY_XATTRS}${name}`)

/** A layer says with such names that something is deleted, and has no way to say that there is a file of that name. */
function assertSayable({ entries }: LayerChanges): void {
  const found = entries.find((path) => isReserved(path))
  if (found !== undefined) throw new HakuError('environment.not_packageable', `The container has ${quote(`/${found}`)}, and no image can hold a file whose name begins with ".wh.". Rename or remove it, and package again.`)
}

const NO_XATTRS: TarEntry['xattrs'] = new Map()

function isEmpty({ entries, opaque, deleted }: LayerChanges): boolean {
  return entries.length === 0 && opaque.length === 0 && deleted.length === 0
}

/** Whether a directory hides what is below it is an extended attribute. Of one that did not change it is known. */
async function markOpaqueDirectories(upperDir: string, { before, tree, signal }: { before: Tree | undefined; tree: Tree; signal: AbortSignal | undefined }): Promise<void> {
  const unknown: string[] = []
  for (const [path, signature] of tree) {
    if (!isDirectory(signature)) continue
    const opaque = markOpaque(signature)
    const old = before?.get(path)
    if (old === opaque) tree.set(path, opaque)
    else if (old !== signature) unknown.push(path)
  }
  if (unknown.length === 0) return
  for await (const { entry } of readTree(upperDir, unknown, signal)) {
    assertCapturable(entry)
    if (entry.xattrs.get(`${OVERLAY_XATTRS}opaque`) === 'y') tree.set(entry.path, markOpaque(tree.get(entry.path) ?? ''))
  }
}

async function writeLayer(upperDir: string, { entries, opaque, deleted }: LayerChanges, { spool, signal, onProgress }: Pick<CaptureOptions, 'spool' | 'signal' | 'onProgress'>): Promise<SpooledLayer> {
  const layer = await spool.createLayer()
  const write = async (bytes: Buffer) => layer.write(bytes)
  /** Of files with further names, which tar tells once. An Engine changes the owner with each name, and the kernel drops capabilities at that. */
  const linked = new Map<string, TarEntry['xattrs']>()
  for await (const { entry, content } of readTree(upperDir, entries, signal)) {
    assertCapturable(entry)
    const xattrs = entry.type === 'link' ? (linked.get(entry.target) ?? NO_XATTRS) : portable(entry.xattrs)
    if (entry.type === 'file' && xattrs.size > 0) linked.set(entry.path, xattrs)
    await write(encodeEntry({ ...entry, xattrs }))
    for await (const chunk of content) {
      const wait = layer.write(chunk)
      if (wait) await wait
    }
    await write(padding(entry.size))
    onProgress?.(layer.size)
  }
  for (const path of opaque) await write(encodeEntry(opaqueEntry(path)))
  for (const path of deleted) await write(encodeEntry(whiteoutEntry(path)))
  await write(END_OF_ARCHIVE)
  return layer.end()
}

function assertCapturable({ path, xattrs }: TarEntry): void {
  const found = NOT_CAPTURABLE.find((name) => xattrs.has(name))
  if (found !== undefined) throw new NotCapturable(`${printable(path)} has ${found}`)
}

function portable(xattrs: TarEntry['xattrs']): TarEntry['xattrs'] {
  return new Map([...xattrs].filter(([name]) => !LEFT_OUT.some((prefix) => name.startsWith(prefix))))
}
