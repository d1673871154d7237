import type { Environment, Version } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import type { TarballEntry, TarballStore } from '#core/tarballs/store.ts'
import type { PinnedVersion } from '../queue/task-record.ts'

/** Packaged environments, newest version first, by name. A damaged version is listed with what its file tells. */
export async function listEnvironments(tarballs: TarballStore): Promise<Environment[]> {
  const groups = new Map<string, TarballEntry[]>()
  for (const entry of await tarballs.list()) groups.set(entry.environment, [...(groups.get(entry.environment) ?? []), entry])
  return Promise.all([...groups].map(([name, entries]) => toEnvironment(tarballs, name, entries)))
}

/** @throws `environment.no_version` */
export async function getEnvironment(tarballs: TarballStore, name: string): Promise<Environment> {
  const entries = await tarballs.listVersions(name)
  if (entries.length === 0) throw noVersion(name)
  return toEnvironment(tarballs, name, entries)
}

/**
 * The newest version, by everything a node needs to run exactly it.
 *
 * @throws `environment.no_version`, `tarball.damaged`
 */
export async function latestVersion(tarballs: TarballStore, name: string): Promise<{ version: number; pinned: PinnedVersion }> {
  const [newest] = await tarballs.listVersions(name)
  if (!newest) throw noVersion(name)
  const manifest = await tarballs.readManifest(name, newest.version)
  return { version: newest.version, pinned: { fileName: newest.fileName, configDigest: manifest?.configDigest ?? null, manifestDigest: manifest?.manifestDigest ?? null } }
}

/** The version as the API shows it. */
export async function toVersion(tarballs: TarballStore, entry: TarballEntry): Promise<Version> {
  const manifest = await tarballs.readManifest(entry.environment, entry.version).catch((error: unknown) => {
    if (error instanceof HakuError && error.kind !== 'unavailable') return undefined
    throw error
  })
  return {
    ...entry,
    created: manifest?.created ?? new Date(entry.version * 1000).toISOString(),
    author: manifest?.author ?? null,
    note: manifest?.note ?? null,
    baseImage: manifest?.baseImage ?? null,
    configDigest: manifest?.configDigest ?? null,
  }
}

// --- internal ---

async function toEnvironment(tarballs: TarballStore, name: string, entries: TarballEntry[]): Promise<Environment> {
  const [latest, ...older] = await Promise.all(entries.map((entry) => toVersion(tarballs, entry)))
  if (!latest) throw noVersion(name)
  return { name, latest, older }
}

function noVersion(name: string): HakuError {
  return new HakuError('environment.no_version', `The environment ${quote(name)} has no version. Package its container with "hakuriver.docker create-tar ${name}"; "hakuriver.docker list-tars" shows what there is.`)
}
