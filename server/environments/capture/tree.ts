import { lstatSync, readdirSync, type Stats } from 'node:fs'
import { setImmediate } from 'node:timers/promises'

/**
 * What stands under each path of a directory tree: path (latin1, see `core/tarballs/tar/entry.ts`) → signature. The root itself is left out.
 *
 * A signature begins with a letter for the kind (see {@link kindOf}); the rest changes whenever content or attributes do: the kernel moves
 * an inode's ctime with every change to it, and nobody can set it.
 */
export type Tree = Map<string, string>

/** `w`: overlayfs's mark for something deleted. `D`: a directory that hides what is below it. `s`: a socket, which no archive keeps. */
export type Kind = 'd' | 'D' | 'f' | 'l' | 'c' | 'b' | 'p' | 's' | 'w'

export function kindOf(signature: string): Kind {
  return signature[0] as Kind
}

export function isDirectory(signature: string | undefined): boolean {
  return signature !== undefined && (kindOf(signature) === 'd' || kindOf(signature) === 'D')
}

/** The same directory, known to hide what is below it. */
export function markOpaque(signature: string): string {
  return `D${signature.slice(1)}`
}

/** Bytes of the content of a file; 0 for anything else. */
export function sizeOf(signature: string): number {
  return kindOf(signature) === 'f' ? Number(signature.split(' ')[4]) : 0
}

/** The directory above; empty for the root. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/**
 * Looks at every path of a tree, without reading content. Nothing may change it meanwhile.
 *
 * Synchronous calls, because 60,000 of them take 0.4 s and as many promises several; between them the Host gets its turn.
 */
export async function scanTree(root: string, signal?: AbortSignal): Promise<Tree> {
  const tree: Tree = new Map()
  const pending = ['']
  let turnEnds = Date.now() + TURN_MS
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    const prefix = directory === '' ? '' : `${directory}/`
    for (const name of readdirSync(Buffer.from(`${root}/${directory}`, 'latin1'), { encoding: 'latin1' })) {
      const path = `${prefix}${name}`
      const signature = signatureOf(lstatSync(Buffer.from(`${root}/${path}`, 'latin1')))
      tree.set(path, signature)
      if (kindOf(signature) === 'd') pending.push(path)
    }
    if (Date.now() < turnEnds) continue
    await setImmediate()
    signal?.throwIfAborted()
    turnEnds = Date.now() + TURN_MS
  }
  return tree
}

// --- internal ---

const TURN_MS = 20

function signatureOf(stats: Stats): string {
  const kind = kindOfStats(stats)
  const { mode, uid, gid, size, mtimeMs, ctimeMs, ino, nlink, rdev } = stats
  return `${kind} ${mode.toString(8)} ${uid} ${gid} ${kind === 'd' ? 0 : size} ${kind === 'd' ? 0 : nlink} ${rdev} ${ino} ${mtimeMs} ${ctimeMs}`
}

function kindOfStats(stats: Stats): Kind {
  if (stats.isFile()) return 'f'
  if (stats.isDirectory()) return 'd'
  if (stats.isSymbolicLink()) return 'l'
  if (stats.isCharacterDevice()) return stats.rdev === 0 ? 'w' : 'c'
  if (stats.isBlockDevice()) return 'b'
  return stats.isFIFO() ? 'p' : 's'
}
