import { text } from 'node:stream/consumers'
import { errorMessage, HakuError, isHakuError } from '../errors.ts'
import { createId } from '../ids.ts'
import { assertEnvironmentName } from '../names.ts'
import { manifestFileName, parseTarballFileName, tarballFileName, TEMPORARY_PREFIX, temporaryPrefix } from '../paths.ts'
import type { StreamedFile, StreamingDriver } from './driver.ts'
import { type VersionManifest, versionManifestSchema } from './manifest.ts'
import type { TarballEntry, TarballStore, TarballWriter } from './store.ts'

/**
 * The tarball store over any storage that streams: names, manifests and the order of writes.
 *
 * Publishing, and why a crash at any point leaves the version before as it was:
 * 1. The tarball is written under a temporary key, flushed and checked.
 * 2. The manifest too. Its temporary key says which version it belongs to.
 * 3. The tarball gets its name. As long as the manifest of step 2 waits, nobody is shown it. After a crash it stays so until
 *    the sweep finds that manifest and takes the tarball away again.
 * 4. The manifest gets its name, in one step: now the version is published.
 */
export function createTarballStore(driver: StreamingDriver, ownerId: string): TarballStore {
  const temporaryKey = (finalKey: string) => `${temporaryPrefix(ownerId)}${createId()}-${finalKey}`
  /** Temporary keys that this process writes to right now: no litter. */
  const live = new Set<string>()
  /** Changes by this store: they show at once, whatever the storage can tell. */
  let changes = 0

  async function list(environment?: string): Promise<TarballEntry[]> {
    // Of one environment only its own files are asked for. What waits is asked for last: it waits from before its tarball is there.
    const found = environment === undefined ? await driver.listEntries() : [...(await driver.listEntries(`${environment}-`)), ...(await driver.listEntries(TEMPORARY_PREFIX))]
    const waiting = new Set(found.map(({ key }) => tarballWaitingFor(key)))
    const entries = found.flatMap(({ key, size }) => {
      const parsed = parseTarballFileName(key)
      return parsed && !waiting.has(key) ? [{ ...parsed, fileName: key, size }] : []
    })
    return entries.sort(byEnvironmentThenNewest)
  }

  async function find(environment: string, version: number): Promise<TarballEntry | undefined> {
    assertEnvironmentName(environment)
    const fileName = tarballFileName(environment, version)
    const found = await driver.stat(fileName)
    if (!found || (!(await driver.stat(manifestFileName(environment, version))) && (await isWaiting(fileName)))) return undefined
    return { environment, version, fileName, size: found.size }
  }

  async function isWaiting(fileName: string): Promise<boolean> {
    return (await driver.listEntries(TEMPORARY_PREFIX)).some(({ key }) => tarballWaitingFor(key) === fileName)
  }

  return {
    list: () => list(),
    find,
    async listVersions(environment) {
      assertEnvironmentName(environment)
      return (await list(environment)).filter((entry) => entry.environment === environment)
    },

    async readManifest(environment, version) {
      const entry = await find(environment, version)
      const fileName = tarballFileName(environment, version)
      if (!entry) throw new HakuError('tarball.not_found', `${fileName} is not on the shared storage. Was it removed? "hakuriver.docker list-tars" shows what there is.`)
      const json = await readText(driver, manifestFileName(environment, version))
      if (json === undefined) return undefined
      return checkManifest(json, entry)
    },

    async stamp(environment, version) {
      const before = changes
      const word = await driver.stamp([tarballFileName(environment, version), manifestFileName(environment, version)])
      return word === undefined ? undefined : `${before} ${word}`
    },

    read: (environment, version, range) => driver.openRange(tarballFileName(environment, version), range),

    async createWriter(environment, version, start) {
      assertEnvironmentName(environment)
      const tarballKey = tarballFileName(environment, version)
      if (await driver.stat(tarballKey)) throw new HakuError('environment.busy', `${tarballKey} exists already. Does another Host write to the same shared directory?`)
      const manifestKey = manifestFileName(environment, version)
      const keys = { tarball: temporaryKey(tarballKey), manifest: temporaryKey(manifestKey) }
      live.add(keys.tarball).add(keys.manifest)
      const forget = () => {
        live.delete(keys.tarball)
        live.delete(keys.manifest)
        changes += 1
      }
      const copied = start && { key: tarballFileName(start.environment, start.version), length: start.length }
      const file = await driver.createFile({ temporary: keys.tarball, final: tarballKey }, copied).catch((error: unknown) => {
        forget()
        throw error
      })
      return createWriter({ driver, file, environment, version, temporaryManifestKey: keys.manifest, forget })
    },

    async remove(environment, version) {
      assertEnvironmentName(environment)
      await driver.removeItem?.(manifestFileName(environment, version), {})
      await driver.removeItem?.(tarballFileName(environment, version), {})
      changes += 1
    },

    async sweep() {
      const litter = (await driver.listEntries(TEMPORARY_PREFIX)).map(({ key }) => key).filter((key) => key.startsWith(temporaryPrefix(ownerId)) && !live.has(key))
      const unfinished = (await Promise.all(litter.map((key) => unfinishedTarball(driver, key)))).filter((key) => key !== undefined)
      // Tarballs first: without the temporary manifest nobody would know them any more.
      for (const key of unfinished) await driver.removeItem?.(key, {})
      for (const key of litter) await driver.discard(key)
      return [...unfinished, ...litter]
    },

    freeSpace: () => driver.freeSpace(),
  }
}

// --- internal ---

interface WriterContext {
  driver: StreamingDriver
  file: StreamedFile
  environment: string
  version: number
  temporaryManifestKey: string
  /** The temporary keys are no longer ours to write. */
  forget(): void
}

function createWriter({ driver, file, environment, version, temporaryManifestKey, forget }: WriterContext): TarballWriter {
  const tarballKey = tarballFileName(environment, version)
  const manifestKey = manifestFileName(environment, version)

  async function publish(manifest: VersionManifest): Promise<void> {
    assertDescribes(manifest, { environment, version, fileName: tarballKey, size: file.position })
    const note = await driver.createFile({ temporary: temporaryManifestKey, final: manifestKey })
    try {
      await note.write(Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`))
      await note.finish()
      await file.commit()
      await commitManifest(note)
    } catch (error) {
      // The first error is the one to tell; what stays is litter for the next sweep.
      await note.abort().catch(() => undefined)
      throw error
    }
  }
  async function commitManifest(note: StreamedFile): Promise<void> {
    try {
      // One whose tarball somebody removed by hand belongs to nothing.
      if (await driver.stat(manifestKey)) await driver.removeItem?.(manifestKey, {})
      await note.commit()
    } catch (error) {
      await driver.removeItem?.(tarballKey, {})
      throw error
    }
  }

  return {
    get position() {
      return file.position
    },
    write: (chunk) => file.write(chunk),
    finish: () => file.finish(),
    async publish(manifest) {
      await publish(manifest)
      forget()
    },
    async abort() {
      await file.abort()
      forget()
    },
  }
}

function byEnvironmentThenNewest(left: TarballEntry, right: TarballEntry): number {
  if (left.environment !== right.environment) return left.environment < right.environment ? -1 : 1
  return right.version - left.version
}

/** A mistake of ours, found before anything is visible. */
function assertDescribes(manifest: VersionManifest, entry: TarballEntry): void {
  const { environment, version, size } = versionManifestSchema.parse(manifest)
  if (environment === entry.environment && version === entry.version && size === entry.size) return
  throw new HakuError('internal.error', `A manifest for ${tarballFileName(environment, version)} of ${size} bytes was given to ${entry.fileName} of ${entry.size} bytes`)
}

/** A manifest has some hundred bytes for each layer, and the image's configuration. */
const MANIFEST_LIMIT = 4 * 1024 * 1024

async function readText(driver: StreamingDriver, key: string): Promise<string | undefined> {
  try {
    // A longer one is cut, and then no valid JSON.
    const found = await driver.stat(key)
    return found && (await text(await driver.openRange(key, { start: 0, end: Math.min(found.size, MANIFEST_LIMIT) })))
  } catch (error) {
    if (isHakuError(error, 'tarball.not_found')) return undefined
    throw error
  }
}

function checkManifest(json: string, entry: TarballEntry): VersionManifest {
  const damaged = (what: string) => new HakuError('tarball.damaged', `The manifest of ${entry.fileName} ${what}. Package the environment again.`)
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch (error) {
    throw damaged(`is not JSON (${errorMessage(error)})`)
  }
  const result = versionManifestSchema.safeParse(parsed)
  if (!result.success) throw damaged(`is not valid (${result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')})`)
  const manifest = result.data
  if (manifest.environment !== entry.environment || manifest.version !== entry.version) throw damaged(`belongs to ${tarballFileName(manifest.environment, manifest.version)}`)
  if (manifest.size !== entry.size) {
    throw new HakuError('tarball.damaged', `${entry.fileName} has ${entry.size} bytes, and its manifest says ${manifest.size}. It was cut or changed; package the environment again.`)
  }
  if (manifest.layers.some(({ offset, size }) => offset + size > entry.size)) throw damaged(`names layers behind the end of the tarball`)
  return manifest
}

const WAITING_RE = /^(?<owner>.+?)-[0-9a-z]{26}-(?<manifest>.+)\.json$/

/** The file name of the tarball whose manifest waits under this temporary key, whoever wrote it. */
function tarballWaitingFor(key: string): string | undefined {
  if (!key.startsWith(TEMPORARY_PREFIX)) return undefined
  const manifest = WAITING_RE.exec(key.slice(TEMPORARY_PREFIX.length))?.groups?.['manifest']
  return manifest === undefined ? undefined : `${manifest}.tar`
}

/** The tarball that a crash left between its own name and that of its manifest. */
async function unfinishedTarball(driver: StreamingDriver, temporary: string): Promise<string | undefined> {
  const tarballKey = tarballWaitingFor(temporary)
  const version = tarballKey === undefined ? undefined : parseTarballFileName(tarballKey)
  if (!tarballKey || !version || !(await driver.stat(tarballKey))) return undefined
  const isPublished = (await driver.stat(manifestFileName(version.environment, version.version))) !== undefined
  return isPublished ? undefined : tarballKey
}
