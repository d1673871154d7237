import type { Version, VersionDetails } from '#core/api/schemas.ts'
import { errorMessage, HakuError } from '#core/errors.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballEntry, TarballStore } from '#core/tarballs/store.ts'
import type { VersionMarks } from './marks.ts'

export interface DescribingOptions {
  tarballs: Pick<TarballStore, 'readManifest'>
  marks: Pick<VersionMarks, 'get'>
  /** Names of the nodes that have a version. */
  nodesWith(environment: string, version: number): string[]
  /** Unfinished tasks that were promised a version. */
  tasksOf(environment: string, version: number): readonly { id: string }[]
}

/** A version as the API shows it; whether it is the current one is for the caller to know. */
export async function describeVersion(entry: TarballEntry, { tarballs, marks, nodesWith, tasksOf }: DescribingOptions): Promise<VersionDetails> {
  const { environment, version } = entry
  const { isPinned, isCandidate, damage } = marks.get(environment, version)
  const { manifest, trouble } = await readNote(tarballs, entry)
  return {
    ...entry,
    created: manifest?.created ?? timeOf(version),
    author: manifest?.author ?? null,
    note: manifest?.note ?? null,
    baseImage: manifest?.baseImage ?? null,
    configDigest: manifest?.configDigest ?? null,
    newBytes: manifest?.newBytes ?? null,
    restores: manifest?.restores ?? null,
    current: false,
    pinned: isPinned,
    candidate: isCandidate,
    damage: damage ?? trouble,
    nodes: nodesWith(environment, version),
    tasks: tasksOf(environment, version).map(({ id }) => id),
    architecture: manifest?.architecture ?? null,
    os: manifest?.os ?? null,
    layers: manifest?.layers.map(({ digest, size }, index) => ({ digest, size, isBase: index < manifest.baseLayers })) ?? [],
  }
}

/** What a list shows of it. */
export function withoutDetails({ architecture: _architecture, os: _os, layers: _layers, ...version }: VersionDetails): Version {
  return version
}

/** A manifest that can not be read does not keep its version from being shown. */
export async function readNote(tarballs: DescribingOptions['tarballs'], { environment, version }: TarballEntry): Promise<{ manifest: VersionManifest | undefined; trouble: string | null }> {
  try {
    return { manifest: await tarballs.readManifest(environment, version), trouble: null }
  } catch (error) {
    if (error instanceof HakuError && error.kind === 'unavailable') throw error
    return { manifest: undefined, trouble: errorMessage(error) }
  }
}

// --- internal ---

/** Later ones have no four digits for the year, which is all that an ISO 8601 time on the wire may have. */
const LAST_SECOND = 253_402_300_799

/** When a version was made, as far as its number tells. */
function timeOf(version: number): string {
  return new Date(Math.min(version, LAST_SECOND) * 1000).toISOString()
}
