import { createHash } from 'node:crypto'
import type { DiffQuery, FileChange, VersionDiff } from '#core/api/schemas.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { tarballFileName } from '#core/paths.ts'
import type { VersionLayer, VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { manifestOf, readLayer } from '../archive.ts'
import type { VersionMarks } from '../marks.ts'
import { markingDamage } from '../verify.ts'
import type { Versions } from '../versions.ts'
import { type Contents, createContents, type ReadLayer } from './contents.ts'
import { applyLayer, type FileNode, type FileRecord, hasChildren, SIDES, walk } from './file-tree.ts'
import { comparePackages, wantPackageLists } from './packages.ts'

/** What differs between two versions of an environment, told by their layers: nothing is started or loaded for it. */
export interface Diffs {
  /**
   * The version before the current one against the current one, unless said otherwise. Takes as long as the layers take to be read; only
   * names and numbers of files are held in memory.
   *
   * @throws `environment.no_version`, `tarball.not_found`, `tarball.damaged`, `version.without_manifest`
   */
  compare(environment: string, query: DiffQuery, signal: AbortSignal): Promise<VersionDiff>
}

export function createDiffs({ tarballs, versions, marks }: { tarballs: TarballStore; versions: Versions; marks: Pick<VersionMarks, 'set'> }): Diffs {
  async function choose(environment: string, { from, to }: DiffQuery): Promise<{ from: number; to: number }> {
    const { latest, older } = await versions.get(environment)
    const all = [latest, ...older]
    const later = to ?? (all.find(({ current }) => current) ?? latest).version
    const earlier = from ?? all.find((each) => each.version < later && !each.candidate && each.damage === null)?.version
    if (earlier === undefined) throw new HakuError('tarball.not_found', `${quote(environment)} has no version before ${later} to compare it with. "hakuriver env log ${environment}" shows what there is.`)
    return { from: earlier, to: later }
  }

  return {
    async compare(environment, query, signal) {
      const { from, to } = await choose(environment, query)
      return versions.use(environment, from, () =>
        versions.use(environment, to, async () => {
          const [before, after] = [await manifestOf(tarballs, environment, from), await manifestOf(tarballs, environment, to)]
          return { environment, from, to, ...(await compareManifests({ tarballs, marks }, { before, after, limit: query.limit, signal })) }
        }))
    },
  }
}

// --- internal ---

interface Comparison {
  before: VersionManifest
  after: VersionManifest
  limit: number
  signal: AbortSignal
}

async function compareManifests({ tarballs, marks }: Reading, { before, after, limit, signal }: Comparison): Promise<Omit<VersionDiff, 'environment' | 'from' | 'to'>> {
  const read: ReadLayer = (digest, work) => withLayer({ tarballs, marks }, { manifests: [after, before], digest, work })
  const root = await buildTree({ before, after, read, signal })
  const contents = createContents()
  for (const { node } of walk(root)) {
    if (node.before && node.after && compareRecords(node.before, node.after) === 'unknown') for (const side of SIDES) if (node[side]) contents.wantDigest(node[side])
  }
  wantPackageLists(root, contents)
  await contents.read(read, signal)
  const changes: FileChange[] = []
  for (const { path, node } of walk(root)) {
    const change = toChange(path, node, contents)
    if (change) changes.push(change)
  }
  return { files: changes.slice(0, limit), truncated: changes.length > limit, totals: sumUp(changes), packages: comparePackages(root, contents) }
}

interface Reading {
  tarballs: TarballStore
  marks: Pick<VersionMarks, 'set'>
}

/** Both file systems as one tree. Layers that both begin with are read once; they are not even read if nothing is above them. */
async function buildTree({ before, after, read, signal }: Pick<Comparison, 'before' | 'after' | 'signal'> & { read: ReadLayer }): Promise<FileNode> {
  const root: FileNode = {}
  const differs = before.layers.findIndex(({ digest }, index) => digest !== after.layers[index]?.digest)
  const common = differs < 0 ? before.layers.length : differs
  const above = { before: before.layers.slice(common), after: after.layers.slice(common) }
  if (above.before.length === 0 && above.after.length === 0) return root
  for (const { digest } of before.layers.slice(0, common)) await read(digest, (source) => applyLayer(root, { digest, source, sides: SIDES, signal }))
  for (const side of SIDES) for (const { digest } of above[side]) await read(digest, (source) => applyLayer(root, { digest, source, sides: [side], signal }))
  return root
}

interface LayerWork {
  /** The first that has the layer is read. */
  manifests: readonly VersionManifest[]
  digest: string
  work(source: AsyncIterable<Uint8Array>): Promise<void>
}

/** Has a layer read, and checked if it is read to its end. The version is marked if it is damaged. */
async function withLayer({ tarballs, marks }: Reading, { manifests, digest, work }: LayerWork): Promise<void> {
  for (const manifest of manifests) {
    const layer: VersionLayer | undefined = manifest.layers.find((each) => each.digest === digest)
    if (!layer) continue
    return markingDamage(marks, manifest, async () => {
      const source = checked(await readLayer(tarballs, manifest, layer), manifest, digest)
      await work(source).catch((error: unknown) => {
        throw naming(manifest, error)
      })
    })
  }
  throw new Error(`no version has the layer ${digest}`)
}

/** Whoever reads a layer says what is wrong with it, and not where it stands. */
function naming({ environment, version }: VersionManifest, error: unknown): unknown {
  const fileName = tarballFileName(environment, version)
  if (!isHakuError(error, 'tarball.damaged') || error.message.includes(fileName)) return error
  return new HakuError('tarball.damaged', `${fileName} is damaged: ${error.message} Package the environment again.`, { cause: error })
}

async function* checked(source: AsyncIterable<Uint8Array>, { environment, version }: VersionManifest, digest: string): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  for await (const chunk of source) {
    hash.update(chunk)
    yield chunk
  }
  const found = `sha256:${hash.digest('hex')}`
  if (found !== digest) throw new HakuError('tarball.damaged', `${tarballFileName(environment, version)} is damaged: for a layer its manifest says ${digest}, found ${found}. Package the environment again.`)
}

const COMPARED = ['type', 'mode', 'uid', 'gid', 'target', 'major', 'minor', 'xattrs'] as const

/** Times count for nothing: a file that was written again as it was has not changed. */
function compareRecords(before: FileRecord, after: FileRecord): 'same' | 'different' | 'unknown' {
  if (before === after) return 'same'
  if (COMPARED.some((key) => before[key] !== after[key])) return 'different'
  if (before.type !== 'file') return 'same'
  if (before.size !== after.size) return 'different'
  return before.size === 0 || (before.layer === after.layer && before.source === after.source) ? 'same' : 'unknown'
}

function hasChanged(before: FileRecord, after: FileRecord, contents: Contents): boolean {
  const verdict = compareRecords(before, after)
  return verdict === 'different' || (verdict === 'unknown' && contents.digestOf(before) !== contents.digestOf(after))
}

/** A directory is told by what is in it; alone only where it is empty, or when its owner or mode changed. */
function toChange(path: string, node: FileNode, contents: Contents): FileChange | undefined {
  const { before, after } = node
  const record = after ?? before
  if (!record) return undefined
  const shown = { path: readable(path), type: record.type, before: before?.size ?? null, after: after?.size ?? null }
  if (before && after) return hasChanged(before, after, contents) ? { ...shown, change: 'changed' } : undefined
  const side = after ? 'after' : 'before'
  if (record.type === 'directory' && hasChildren(node, side)) return undefined
  return { ...shown, change: after ? 'added' : 'deleted' }
}

function sumUp(changes: readonly FileChange[]): VersionDiff['totals'] {
  const totals = { added: { files: 0, bytes: 0 }, changed: { files: 0, bytes: 0 }, deleted: { files: 0, bytes: 0 } }
  for (const { change, before, after } of changes) {
    totals[change].files += 1
    totals[change].bytes += after ?? before ?? 0
  }
  return totals
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** A name as text; one that is no UTF-8 with its odd bytes spelled out. */
function readable(path: string): string {
  try {
    return utf8.decode(Buffer.from(path, 'latin1'))
  } catch {
    // oxlint-disable-next-line no-control-regex -- bytes beyond ASCII are what is looked for
    return path.replace(/[^\u0000-\u007F]/g, (byte) => String.raw`\x${byte.charCodeAt(0).toString(16)}`)
  }
}
