import type { Environment, Version } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { tarballFileName } from '#core/paths.ts'
import type { TarballEntry, TarballStore } from '#core/tarballs/store.ts'
import type { PinnedVersion } from '../queue/task-record.ts'
import type { VersionMarks } from './marks.ts'

/** The versions of environments: what there is, which one is current, which ones have to stay. */
export interface Versions {
  /** Packaged environments, by name. A damaged version is listed with what its file tells. */
  list(): Promise<Environment[]>
  /** @throws `environment.no_version` */
  get(environment: string): Promise<Environment>
  /**
   * A version by everything a node needs to run exactly it; the current one if none is named.
   *
   * @throws `environment.no_version`, `tarball.not_found`, `tarball.damaged`
   */
  resolve(environment: string, version?: number): Promise<{ version: number; pinned: PinnedVersion }>
  /** As the API shows it. @throws `tarball.not_found` */
  describe(environment: string, version: number): Promise<Version>
  /** The number of the next version. Grows even if the clock goes back. */
  next(environment: string): Promise<number>
  /** Removes what is superseded, but nothing that is pinned or that a task was promised. */
  prune(environment: string, keep?: number): Promise<void>
}

export interface VersionsOptions {
  tarballs: TarballStore
  marks: VersionMarks
  /** How many of each environment stay, unless said otherwise. */
  keepVersions: number
  /** Versions that unfinished tasks were promised. */
  inUse(environment: string): ReadonlySet<number>
}

export function createVersions({ tarballs, marks, keepVersions, inUse }: VersionsOptions): Versions {
  async function toVersion(entry: TarballEntry): Promise<Version> {
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

  async function toEnvironment(name: string, entries: readonly TarballEntry[]): Promise<Environment> {
    const [latest, ...older] = await Promise.all(entries.map(toVersion))
    if (!latest) throw noVersion(name)
    return { name, latest, older }
  }

  /** One that is on trial or damaged is not current, whatever its number. */
  function isUsable({ environment, version }: TarballEntry): boolean {
    const { isCandidate, damage } = marks.get(environment, version)
    return !isCandidate && damage === null
  }

  return {
    async list() {
      const entries = await tarballs.list()
      const names = [...new Set(entries.map(({ environment }) => environment))]
      return Promise.all(names.map((name) => toEnvironment(name, entries.filter(({ environment }) => environment === name))))
    },
    async get(environment) {
      return toEnvironment(environment, await tarballs.listVersions(environment))
    },
    async resolve(environment, version) {
      const entries = await tarballs.listVersions(environment)
      if (entries.length === 0) throw noVersion(environment)
      const entry = version === undefined ? entries.find(isUsable) : entries.find((each) => each.version === version)
      if (!entry) throw noSuchVersion(environment, version, entries)
      const manifest = await tarballs.readManifest(environment, entry.version)
      return { version: entry.version, pinned: { fileName: entry.fileName, configDigest: manifest?.configDigest ?? null, manifestDigest: manifest?.manifestDigest ?? null } }
    },
    async describe(environment, version) {
      const entry = await tarballs.find(environment, version)
      if (!entry) throw new HakuError('tarball.not_found', `${tarballFileName(environment, version)} is not on the shared storage any more. Did somebody remove it?`)
      return toVersion(entry)
    },
    async next(environment) {
      const [newest] = await tarballs.listVersions(environment)
      return Math.max(Math.floor(Date.now() / 1000), (newest?.version ?? 0) + 1)
    },
    async prune(environment, keep = keepVersions) {
      const needed = inUse(environment)
      const superseded = (await tarballs.listVersions(environment)).filter(isUsable).slice(keep)
      for (const { version } of superseded) {
        if (needed.has(version) || marks.get(environment, version).isPinned) continue
        await tarballs.remove(environment, version)
        await marks.forget(environment, version)
      }
    },
  }
}

// --- internal ---

function noVersion(name: string): HakuError {
  return new HakuError('environment.no_version', `The environment ${quote(name)} has no version. Package its container with "hakuriver.docker create-tar ${name}"; "hakuriver.docker list-tars" shows what there is.`)
}

function noSuchVersion(name: string, version: number | undefined, entries: readonly TarballEntry[]): HakuError {
  if (version === undefined) return new HakuError('tarball.damaged', `No version of ${quote(name)} can be used: each is damaged or still being tested. Package the environment again; "hakuriver env log ${name}" tells more.`)
  return new HakuError('tarball.not_found', `${quote(name)} has no version ${version}. There are ${entries.map((each) => each.version).join(', ')}.`)
}
