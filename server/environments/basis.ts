import { errorMessage, isHakuError } from '#core/errors.ts'
import { tarballFileName } from '#core/paths.ts'
import { layersEnd } from '#core/tarballs/assemble.ts'
import type { VersionLayer, VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStart, TarballStore } from '#core/tarballs/store.ts'
import type { VersionMarks } from './marks.ts'
import { verifyLayers } from './verify.ts'

/** A tarball that a new one begins like. */
export interface Basis {
  environment: string
  version: number
  /** The layers that both begin with, lowest first. They stand at the beginning of the tarball. */
  layers: VersionLayer[]
}

/** The manifest of a version that another may be built on; `undefined` if it has none, is gone or is damaged. */
export async function soundManifest(tarballs: TarballStore, marks: VersionMarks, environment: string, version: number): Promise<VersionManifest | undefined> {
  if (marks.get(environment, version).damage !== null) return undefined
  try {
    return await tarballs.readManifest(environment, version)
  } catch (error) {
    if (isHakuError(error, 'tarball.not_found', 'tarball.damaged')) return undefined
    throw error
  }
}

export interface BasisOptions {
  tarballs: TarballStore
  marks: VersionMarks
  environment: string
  /** Lowest first. */
  diffIds: readonly string[]
  signal: AbortSignal
}

/**
 * The tarball that begins with most of these layers: one of the environment itself, else one of any other, because what many environments
 * have in common is their base image. Those layers are read and checked: a damage would go from version to version.
 */
export async function findBasis(options: BasisOptions): Promise<Basis | undefined> {
  for (;;) {
    const found = await longestBeginning(options)
    if (!found) return undefined
    const { manifest, ...basis } = found
    try {
      await verifyLayers(manifest, basis.layers, options)
      return basis
    } catch (error) {
      // It is marked now, and not found again.
      if (!isHakuError(error, 'tarball.damaged', 'tarball.not_found')) throw error
      console.error(`[hakuriver] [packaging] nothing is built on ${tarballFileName(basis.environment, basis.version)}: ${errorMessage(error)}`)
      if (error.code === 'tarball.not_found') return undefined
    }
  }
}

/** What the new tarball is to begin with. */
export function startOf({ environment, version, layers }: Basis): TarballStart {
  return { environment, version, length: layersEnd(layers) }
}

// --- internal ---

type FoundBasis = Basis & { manifest: VersionManifest }

async function longestBeginning({ tarballs, marks, environment, diffIds }: BasisOptions): Promise<FoundBasis | undefined> {
  let best: FoundBasis | undefined
  for (const candidate of await candidates(tarballs, environment)) {
    const manifest = await soundManifest(tarballs, marks, candidate.environment, candidate.version)
    const layers = manifest ? commonBeginning(manifest.layers, diffIds) : []
    if (manifest && layers.length > (best?.layers.length ?? 0)) best = { ...candidate, layers, manifest }
    if (best?.layers.length === diffIds.length) break
  }
  return best
}

/** All versions of the environment, then the newest of each other. */
async function candidates(tarballs: TarballStore, environment: string): Promise<{ environment: string; version: number }[]> {
  const all = await tarballs.list()
  const own = all.filter((entry) => entry.environment === environment)
  const newest = all.filter((entry, index) => entry.environment !== environment && entry.environment !== all[index - 1]?.environment)
  return [...own, ...newest]
}

function commonBeginning(layers: readonly VersionLayer[], diffIds: readonly string[]): VersionLayer[] {
  const differs = layers.findIndex(({ digest }, index) => digest !== diffIds[index])
  return layers.slice(0, differs < 0 ? layers.length : differs)
}
