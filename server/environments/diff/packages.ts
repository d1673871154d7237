import type { PackageChange } from '#core/api/schemas.ts'
import type { Contents } from './contents.ts'
import { type FileNode, type FileRecord, findNode, isThere, partsOf, type Side, SIDES, walk } from './file-tree.ts'

/** Asks for the lists of packages that differ: which ones pip and conda have, the names of their files tell. */
export function wantPackageLists(root: FileNode, contents: Pick<Contents, 'wantText'>): void {
  for (const { node } of packageLists(root)) for (const side of SIDES) if (node[side]) contents.wantText(node[side])
}

/** Packages that came, went or have another version, by manager and name. */
export function comparePackages(root: FileNode, contents: Pick<Contents, 'textOf'>): PackageChange[] {
  const [before, after] = SIDES.map((side) => packagesOf(root, side, contents))
  if (!before || !after) return []
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort()
  return keys.flatMap((key) => {
    const [old, now] = [before, after].map((packages) => versionsOf(packages.get(key)))
    const { manager, name } = before.get(key) ?? after.get(key) ?? {}
    return old === now || !manager || name === undefined ? [] : [{ manager, name, before: old ?? null, after: now ?? null }]
  })
}

// --- internal ---

type Manager = PackageChange['manager']
interface Package {
  manager: Manager
  name: string
  /** More than one where several architectures or several Pythons have it. */
  versions: Set<string>
}
interface Found {
  name: string
  version: string
}

const LISTS: readonly { manager: Manager; path: string }[] = [
  { manager: 'apt', path: 'var/lib/dpkg/status' },
  { manager: 'apk', path: 'lib/apk/db/installed' },
  { manager: 'apk', path: 'usr/lib/apk/db/installed' },
]
/** Images without a shell have a file for each package. */
const LIST_FOLDER = 'var/lib/dpkg/status.d'

/** Lists that are not the same on both sides. */
function packageLists(root: FileNode): { manager: Manager; node: FileNode }[] {
  const folder = [...(findNode(root, partsOf(LIST_FOLDER))?.children?.values() ?? [])].map((node) => ({ manager: 'apt' as const, node }))
  const files = LISTS.flatMap(({ manager, path }) => {
    const node = findNode(root, partsOf(path))
    return node ? [{ manager, node }] : []
  })
  return [...files, ...folder].filter(({ node }) => node.before !== node.after)
}

function packagesOf(root: FileNode, side: Side, contents: Pick<Contents, 'textOf'>): Map<string, Package> {
  const packages = new Map<string, Package>()
  const add = (manager: Manager, { name, version }: Found) => {
    const key = `${manager} ${name}`
    const known = packages.get(key) ?? { manager, name, versions: new Set() }
    known.versions.add(version)
    packages.set(key, known)
  }
  for (const { manager, node } of packageLists(root)) {
    const record: FileRecord | undefined = node[side]
    const found = record ? PARSERS[manager](contents.textOf(record)) : []
    for (const each of found) add(manager, each)
  }
  for (const { path, name, node } of walk(root)) {
    const found = byName(path, name)
    if (found && isThere(node, side)) add(found.manager, found)
  }
  return packages
}

const PARSERS: Record<Manager, (text: string) => Found[]> = { apt: parseDpkg, apk: parseApk, pip: () => [], conda: () => [] }

/** Debian's control format: paragraphs of `Key: value`. One that was removed may still have its configuration. */
function parseDpkg(text: string): Found[] {
  return text.split(/\n\s*\n/).flatMap((paragraph) => {
    const field = (key: string) => new RegExp(`^${key}: *(.*)$`, 'm').exec(paragraph)?.[1]?.trim()
    const [name, version, status] = [field('Package'), field('Version'), field('Status')]
    return name && version && (status === undefined || status.endsWith(' installed')) ? [{ name, version }] : []
  })
}

/** `P:name`, `V:version`, …, an empty line. */
function parseApk(text: string): Found[] {
  return text.split('\n\n').flatMap((paragraph) => {
    const [name, version] = ['P', 'V'].map((key) => new RegExp(`^${key}:(.*)$`, 'm').exec(paragraph)?.[1])
    return name && version ? [{ name, version }] : []
  })
}

function byName(path: string, name: string): (Found & { manager: Manager }) | undefined {
  const parent = path.slice(0, -name.length - 1).split('/').at(-1)
  if (parent === 'conda-meta' && name.endsWith('.json')) {
    const groups = /^(?<name>.+)-(?<version>[^-]+)-[^-]+\.json$/.exec(name)?.groups
    return groups && { manager: 'conda', name: groups['name'] ?? '', version: groups['version'] ?? '' }
  }
  if (parent !== 'site-packages' && parent !== 'dist-packages') return undefined
  const groups = /^(?<name>[^-]+)-(?<version>[^-]+)(?:\.dist-info|(?:-py[\d.]+)?(?:-[\w.]+)?\.egg-info)$/.exec(name)?.groups
  // One spelling for all: PyPI takes them for the same (PEP 503).
  return groups && { manager: 'pip', name: (groups['name'] ?? '').toLowerCase().replace(/[-_.]+/g, '-'), version: groups['version'] ?? '' }
}

function versionsOf(found: Package | undefined): string | undefined {
  return found && [...found.versions].sort().join(', ')
}
