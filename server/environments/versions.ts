import type { Environment, Version, VersionDetails } from '#core/api/schemas.ts'
import { errorMessage, HakuError } from '#core/errors.ts'
import { MAX_VERSION, quote } from '#core/names.ts'
import { tarballFileName } from '#core/paths.ts'
import type { TarballEntry, TarballStore } from '#core/tarballs/store.ts'
import type { TaskState } from '#core/tasks/states.ts'
import type { PinnedVersion } from '../queue/task-record.ts'
import { type Choice, createChoices } from './choices.ts'
import { describeVersion, readNote, withoutDetails } from './describe-version.ts'
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
  resolve(environment: string, version?: number): Promise<ResolvedVersion>
  /** The same, and nobody removes the version before `work` has ended. @throws as `resolve` */
  use<T>(environment: string, version: number | undefined, work: (resolved: ResolvedVersion) => Promise<T>): Promise<T>
  /** As the API shows it. @throws `tarball.not_found` */
  describe(environment: string, version: number): Promise<Version>
  /** With what its manifest tells. @throws `tarball.not_found` */
  details(environment: string, version: number): Promise<VersionDetails>
  /** Pinned versions stay until they are unpinned. @throws `tarball.not_found` */
  setPinned(environment: string, version: number, isPinned: boolean): Promise<Version>
  /** The number of the next version. Grows even if the clock goes back. @throws `version.no_number_left` */
  next(environment: string): Promise<number>
  /** Unfinished tasks that were promised this version, oldest first. */
  tasksOf(environment: string, version: number): NeedingTask[]
  /**
   * Removes a version and what is known of it. Whether it is pinned is for the caller to look at; `evenIfNeeded`: so is whether a task
   * was promised it.
   *
   * @throws `version.needed` if a task was promised it, `environment.busy` if it is being read
   */
  remove(environment: string, version: number, options?: { evenIfNeeded: boolean }): Promise<void>
  /** Removes what is behind the newest ones that can be used, but nothing that is pinned, being read, or that a task was promised. */
  prune(environment: string, keep?: number): Promise<void>
}

export interface ResolvedVersion {
  version: number
  pinned: PinnedVersion
}

/** A task by what counts for the version it was promised. */
export interface NeedingTask {
  id: string
  version: number | null
  state: TaskState
}

export interface VersionsOptions {
  tarballs: TarballStore
  marks: VersionMarks
  /** How many of each environment stay, unless said otherwise. */
  keepVersions: number
  /** Unfinished tasks of an environment, oldest first. */
  unfinishedTasks(environment: string): readonly NeedingTask[]
  /** Names of the nodes that have a version. */
  nodesWith(environment: string, version: number): string[]
}

export function createVersions({ tarballs, marks, keepVersions, unfinishedTasks, nodesWith }: VersionsOptions): Versions {
  /** How many read a version now. */
  const readers = new Map<string, number>()
  const leaving = new Set<string>()

  function tasksOf(environment: string, version: number): NeedingTask[] {
    return unfinishedTasks(environment).filter((task) => task.version === version)
  }

  const describing = { tarballs, marks, nodesWith, tasksOf }

  async function toEnvironment(name: string, entries: readonly TarballEntry[]): Promise<Environment> {
    const all = await Promise.all(entries.map(async (entry) => withoutDetails(await describeVersion(entry, describing))))
    const current = all.find(({ candidate, damage }) => !candidate && damage === null)
    const [latest, ...older] = all.map((version) => ({ ...version, current: version === current }))
    if (!latest) throw noVersion(name)
    return { name, latest, older }
  }

  async function details(environment: string, version: number): Promise<VersionDetails> {
    const entries = await tarballs.listVersions(environment)
    const entry = entries.find((each) => each.version === version)
    if (!entry) throw noSuchVersion(environment, version, entries)
    return { ...(await describeVersion(entry, describing)), current: entry === (await findCurrent(entries)) }
  }

  /** As far as its marks tell: one that is on trial or damaged is not current, whatever its number. */
  function isUsable({ environment, version }: TarballEntry): boolean {
    const { isCandidate, damage } = marks.get(environment, version)
    return !isCandidate && damage === null
  }

  async function choose(environment: string, version: number | undefined): Promise<TarballEntry> {
    const entries = (await tarballs.listVersions(environment)).filter((entry) => !leaving.has(keyOf(entry)))
    if (entries.length === 0) throw noVersion(environment)
    if (version === undefined) {
      const current = await findCurrent(entries)
      if (current) return current
    }
    // Where none is named and none can be used, the newest tells why.
    const entry = version === undefined ? entries[0] : entries.find((each) => each.version === version)
    if (entry) await assertSound(entry)
    if (!entry || version === undefined) throw noSuchVersion(environment, version, entries)
    return entry
  }

  /** The newest that can be used: its manifest can be read too. */
  async function findCurrent(entries: readonly TarballEntry[]): Promise<TarballEntry | undefined> {
    for (const entry of entries) if (isUsable(entry) && (await readNote(tarballs, entry)).trouble === null) return entry
    return undefined
  }

  /** All behind the newest `keep` that can be used, damaged ones too: nobody needs those any more. One on trial is nobody's to remove. */
  async function findSuperseded(entries: readonly TarballEntry[], keep: number): Promise<TarballEntry[]> {
    const superseded: TarballEntry[] = []
    let kept = 0
    for (const entry of entries) {
      if (marks.get(entry.environment, entry.version).isCandidate) continue
      if (kept >= keep) superseded.push(entry)
      else if (isUsable(entry) && (await readNote(tarballs, entry)).trouble === null) kept += 1
    }
    return superseded
  }

  async function assertSound(entry: TarballEntry): Promise<void> {
    const { environment, version } = entry
    const { damage, suspectedBy } = marks.get(environment, version)
    const found = damage ?? (await readNote(tarballs, entry)).trouble
    if (found === null) return
    // What was found names the file and both digests.
    const cure = suspectedBy === null ? `"hakuriver env log ${environment}" shows whether another version can be used.` : `So says the node ${suspectedBy}; the Host reads it itself now. Try again when that is done, or use another version: "hakuriver env log ${environment}".`
    throw new HakuError('tarball.damaged', `${found} ${cure}`)
  }

  async function toResolved({ environment, version, fileName }: TarballEntry): Promise<ResolvedVersion> {
    const manifest = await tarballs.readManifest(environment, version)
    return { version, pinned: { fileName, configDigest: manifest?.configDigest ?? null, manifestDigest: manifest?.manifestDigest ?? null } }
  }

  async function look(environment: string, version: number | undefined): Promise<Choice<ResolvedVersion>> {
    const entry = await choose(environment, version)
    return { entry, details: await toResolved(entry) }
  }

  const choices = createChoices({ tarballs, marks, look })

  async function remove(environment: string, version: number, { evenIfNeeded } = { evenIfNeeded: false }): Promise<void> {
    const key = keyOf({ environment, version })
    const [task] = tasksOf(environment, version)
    // Nothing is waited for between looking and leaving: whoever comes later does not find it.
    if (task && !evenIfNeeded) throw new HakuError('version.needed', `${tarballFileName(environment, version)} is needed by the task ${task.id} (${task.state}). Wait for it, or end it with "hakuriver task kill ${task.id}".`)
    if (readers.has(key)) throw new HakuError('environment.busy', `${tarballFileName(environment, version)} is being read. Try again in a while.`)
    leaving.add(key)
    try {
      await tarballs.remove(environment, version)
      await marks.forget(environment, version)
    } finally {
      leaving.delete(key)
    }
  }

  return {
    tasksOf,
    remove,
    details,
    async list() {
      const entries = await tarballs.list()
      const names = [...new Set(entries.map(({ environment }) => environment))]
      return Promise.all(names.map((name) => toEnvironment(name, entries.filter(({ environment }) => environment === name))))
    },
    async get(environment) {
      return toEnvironment(environment, await tarballs.listVersions(environment))
    },
    async resolve(environment, version) {
      return (await choices.find(environment, version)).details
    },
    async use(environment, version, work) {
      let { entry, details: resolved } = await choices.find(environment, version)
      // Somebody may have begun to remove it while it was looked at.
      while (leaving.has(keyOf(entry))) ({ entry, details: resolved } = await look(environment, version))
      const key = keyOf(entry)
      readers.set(key, (readers.get(key) ?? 0) + 1)
      try {
        return await work(resolved)
      } finally {
        const left = (readers.get(key) ?? 1) - 1
        if (left > 0) readers.set(key, left)
        else readers.delete(key)
      }
    },
    async describe(environment, version) {
      return withoutDetails(await details(environment, version))
    },
    async setPinned(environment, version, isPinned) {
      await details(environment, version)
      await marks.set(environment, version, { isPinned })
      return withoutDetails(await details(environment, version))
    },
    async next(environment) {
      const [newest] = await tarballs.listVersions(environment)
      const version = Math.max(Math.floor(Date.now() / 1000), (newest?.version ?? 0) + 1)
      if (version > MAX_VERSION) throw new HakuError('version.no_number_left', `${newest?.fileName} has the highest number that a version may have, so ${quote(environment)} can not get another one. Who gave it that number? Delete it ("hakuriver env delete ${environment}@${newest?.version}"), or move it out of the tarball directory.`)
      return version
    },
    async prune(environment, keep = keepVersions) {
      const superseded = await findSuperseded(await tarballs.listVersions(environment), keep)
      for (const entry of superseded) {
        if (marks.get(environment, entry.version).isPinned || readers.has(keyOf(entry)) || tasksOf(environment, entry.version).length > 0) continue
        await remove(environment, entry.version).catch((error: unknown) => {
          // The others go all the same, and this one is tried again the next time.
          console.error(`[hakuriver] [versions] ${entry.fileName} is superseded and could not be removed: ${errorMessage(error)}`)
        })
      }
    },
  }
}

// --- internal ---

function keyOf({ environment, version }: Pick<TarballEntry, 'environment' | 'version'>): string {
  return `${environment}-${version}`
}

function noVersion(name: string): HakuError {
  return new HakuError('environment.no_version', `The environment ${quote(name)} has no version. Package its container with "hakuriver.docker create-tar ${name}"; "hakuriver.docker list-tars" shows what there is.`)
}

function noSuchVersion(name: string, version: number | undefined, entries: readonly TarballEntry[]): HakuError {
  if (version === undefined) return new HakuError('tarball.damaged', `No version of ${quote(name)} can be used: each is damaged or still being tested. Package the environment again; "hakuriver env log ${name}" tells more.`)
  return new HakuError('tarball.not_found', `${quote(name)} has no version ${version}. ${entries.length > 0 ? `There are ${entries.map((each) => each.version).join(', ')}` : 'It has none at all'}; "hakuriver.docker list-tars" shows what there is.`)
}
