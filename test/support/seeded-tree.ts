import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, closeSync, ftruncateSync, linkSync, lstatSync, lutimesSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync, writeSync } from 'node:fs'
import { encodeEntry } from '#core/tarballs/tar/encode.ts'
import { END_OF_ARCHIVE, padding, type TarEntry } from '#core/tarballs/tar/entry.ts'
import type { Random } from '#simulator/random.ts'

/**
 * Grows and changes a tree as people and package managers do, and as nobody should: every kind of entry, names of any bytes, hard links made and
 * broken, files for directories and back, directories replaced. Paths are latin1, below `root`.
 */
export function mutateTree(root: string, random: Random, steps: number): void {
  for (let step = 0; step < steps; step += 1) random.pick(MUTATIONS)(root, random)
}

/** One of each special thing, so that no seed misses any. */
export function plantSpecials(root: string, random: Random): void {
  const name = (text: string) => `special-${random.below(1_000_000)}-${text}`
  extract(root, [
    { path: name('capable'), content: '#!/bin/sh\n', mode: 0o755, xattrs: { 'security.capability': CAP_NET_BIND_SERVICE } },
    { path: name('noted'), content: 'noted', xattrs: { 'user.note': 'any\0bytes\n' } },
    { path: name('dir-noted'), type: 'directory', mode: 0o1777, xattrs: { 'user.note': 'a directory' } },
    { path: name('fifo'), type: 'fifo', mode: 0o622 },
    { path: name('character'), type: 'character', major: 1, minor: 3, mode: 0o666 },
    { path: name('block'), type: 'block', major: 7, minor: 200, mode: 0o660 },
    { path: name('setuid'), content: 'x', mode: 0o6755, uid: 1234, gid: 4_000_000_000 },
    { path: name('old'), content: 'x', mtime: '-86400' },
    { path: name('n'.repeat(255 - name('').length - 4)), content: 'a long name' },
  ])
}

// --- internal ---

/** Version 2 with the effective bit (kernel `include/uapi/linux/capability.h`), as `setcap cap_net_bind_service+ep` writes it. */
const CAP_NET_BIND_SERVICE = Buffer.from('0100000200040000000000000000000000000000', 'hex').toString('latin1')
const ODD_NAMES = ['plain', 'with space', "quo'te", 'dou"ble', 'new\nline', '-rf', '*', 'back\\slash', '\xff\xfe', '\xc3\xa9', '.hidden', 'tab\there', '%41', 'a'.repeat(120)]

type Mutation = (root: string, random: Random) => void

const MUTATIONS: readonly Mutation[] = [
  createFile, createFile, createFile, createFile, createDirectory, createDirectory, createSymlink, rewrite, append, truncateSparse, changeMode, changeOwner, changeTimes,
  remove, remove, fileToDirectory, directoryToFile, replaceDirectory, replaceDirectory, renameAny, swap, hardLink, hardLink, breakLink, plantSpecials,
]

function at(root: string, path: string): Buffer {
  return Buffer.from(`${root}/${path}`, 'latin1')
}

function list(root: string): { all: string[]; files: string[]; directories: string[] } {
  const found = { all: [] as string[], files: [] as string[], directories: [] as string[] }
  const visit = (directory: string) => {
    for (const name of readdirSync(at(root, directory), { encoding: 'latin1' }).toSorted()) {
      const path = directory === '' ? name : `${directory}/${name}`
      const stats = lstatSync(at(root, path))
      found.all.push(path)
      if (stats.isFile()) found.files.push(path)
      if (!stats.isDirectory()) continue
      found.directories.push(path)
      visit(path)
    }
  }
  visit('')
  return found
}

/** A path that nothing is at, in any directory. */
function freePath(root: string, random: Random): string {
  const directory = random.pick(['', ...list(root).directories.filter((path) => path.split('/').length < 6)])
  return `${directory === '' ? '' : `${directory}/`}${random.pick(ODD_NAMES)}-${random.below(100_000)}`
}

function createFile(root: string, random: Random): void {
  writeFileSync(at(root, freePath(root, random)), random.bytes(random.pick([0, 1, 511, 512, 513, 3000])))
}
function createDirectory(root: string, random: Random): void {
  const path = freePath(root, random)
  mkdirSync(at(root, path))
  for (let count = random.below(4); count > 0; count -= 1) writeFileSync(at(root, `${path}/${random.pick(ODD_NAMES)}-${count}`), random.bytes(100))
}
function createSymlink(root: string, random: Random): void {
  symlinkSync(Buffer.from(random.pick(['../x', '/nowhere', 'y'.repeat(150), '\xff']), 'latin1'), at(root, freePath(root, random)))
}
function withFile(change: (path: Buffer, random: Random, name: string, root: string) => void): Mutation {
  return (root, random) => {
    const { files } = list(root)
    if (files.length === 0) return createFile(root, random)
    const name = random.pick(files)
    return change(at(root, name), random, name, root)
  }
}
function rewrite(root: string, random: Random): void {
  withFile((path) => writeFileSync(path, random.bytes(700)))(root, random)
}
function append(root: string, random: Random): void {
  withFile((path) => writeFileSync(path, random.bytes(50), { flag: 'a' }))(root, random)
}
function truncateSparse(root: string, random: Random): void {
  withFile((path) => {
    const file = openSync(path, 'r+')
    ftruncateSync(file, 300_000 + random.below(1000))
    writeSync(file, 'behind the hole', 200_000)
    closeSync(file)
  })(root, random)
}
function changeMode(root: string, random: Random): void {
  const { files, directories } = list(root)
  if (files.length + directories.length > 0) chmodSync(at(root, random.pick([...files, ...directories])), random.pick([0o600, 0o755, 0o4711, 0o2775, 0o1777, 0]))
}
function changeOwner(root: string, random: Random): void {
  const { files, directories } = list(root)
  if (files.length + directories.length > 0) chownSync(at(root, random.pick([...files, ...directories])), random.pick([0, 1000, 65_534]), random.pick([0, 1000, 3_000_000]))
}
function changeTimes(root: string, random: Random): void {
  const { all } = list(root)
  if (all.length > 0) lutimesSync(at(root, random.pick(all)), random.below(1_900_000_000), random.below(1_900_000_000))
}
function remove(root: string, random: Random): void {
  const { all } = list(root)
  if (all.length > 12) rmSync(at(root, random.pick(all)), { recursive: true })
}
function fileToDirectory(root: string, random: Random): void {
  withFile((path, _, name) => {
    unlinkSync(path)
    mkdirSync(path)
    writeFileSync(at(root, `${name}/inside`), 'was a file')
  })(root, random)
}
function withDirectory(root: string, random: Random, change: (path: string) => void): void {
  const { directories } = list(root)
  if (directories.length > 0) change(random.pick(directories))
}
function directoryToFile(root: string, random: Random): void {
  withDirectory(root, random, (path) => {
    rmSync(at(root, path), { recursive: true })
    writeFileSync(at(root, path), 'was a directory')
  })
}
/** The same name, and nothing of what was in it: overlayfs marks it as opaque where a lower layer has it. */
function replaceDirectory(root: string, random: Random): void {
  withDirectory(root, random, (path) => {
    rmSync(at(root, path), { recursive: true })
    mkdirSync(at(root, path))
    if (random.below(2) === 0) writeFileSync(at(root, `${path}/new`), random.bytes(40))
  })
}
function renameAny(root: string, random: Random): void {
  const { all } = list(root)
  if (all.length === 0) return
  const from = random.pick(all)
  const to = freePath(root, random)
  if (!to.startsWith(`${from}/`)) move(root, from, to)
}
function swap(root: string, random: Random): void {
  const { all } = list(root)
  const [one, other] = [random.pick(all), random.pick(all)]
  if (one === undefined || other === undefined || one === other || one.startsWith(`${other}/`) || other.startsWith(`${one}/`)) return
  move(root, one, 'swapping')
  move(root, other, one)
  move(root, 'swapping', other)
}
/** Like `mv`: overlayfs refuses to rename a directory that is of a lower layer, and mv copies it then. */
function move(root: string, from: string, to: string): void {
  try {
    renameSync(at(root, from), at(root, to))
  } catch {
    // Names of any bytes: as arguments only Buffers would do, which spawn does not take. A shell reads them from its input.
    const quoted = [from, to].map((path) => `'${`${root}/${path}`.replaceAll("'", String.raw`'\''`)}'`)
    const moved = spawnSync('/bin/sh', ['-s'], { input: Buffer.from(`mv -T -- ${quoted.join(' ')}\n`, 'latin1') })
    if (moved.status !== 0) throw new Error(String(moved.stderr))
  }
}
function hardLink(root: string, random: Random): void {
  withFile((path) => linkSync(path, at(root, freePath(root, random))))(root, random)
}
/** A new file under the name of one that has others. */
function breakLink(root: string, random: Random): void {
  const linked = list(root).files.filter((path) => lstatSync(at(root, path)).nlink > 1)
  if (linked.length === 0) return hardLink(root, random)
  const path = at(root, random.pick(linked))
  unlinkSync(path)
  writeFileSync(path, 'alone now')
  return utimesSync(path, 1, 1)
}

type Special = Partial<Omit<TarEntry, 'xattrs' | 'size' | 'path'>> & { path: string; content?: string; xattrs?: Record<string, string> }

/** By tar, which can write what Node.js can not: extended attributes and devices. */
function extract(root: string, specials: readonly Special[]): void {
  const parts = specials.flatMap(({ content = '', xattrs = {}, ...given }) => {
    const entry: TarEntry = { type: 'file', mode: 0o644, uid: 0, gid: 0, mtime: '1600000000.123456789', target: '', major: 0, minor: 0, ...given, size: content.length, xattrs: new Map(Object.entries(xattrs)) }
    return [encodeEntry(entry), Buffer.from(content, 'latin1'), padding(content.length)]
  })
  const done = spawnSync('tar', ['--extract', '--xattrs', '--xattrs-include=*', '--numeric-owner', '--same-permissions', '--same-owner', '-C', root], { input: Buffer.concat([...parts, END_OF_ARCHIVE]) })
  if (done.status !== 0) throw new Error(`tar: ${String(done.stderr)}`)
}
