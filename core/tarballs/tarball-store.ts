import { text } from 'node:stream/consumers'
import { errorMessage, HakuError, isHakuError } from '../errors.ts'
import { createId } from '../ids.ts'
import { manifestFileName, parseTarballFileName, tarballFileName, temporaryPrefix } from '../paths.ts'
import type { StreamedFile, StreamingDriver } from './driver.ts'
import { type VersionManifest, versionManifestSchema } from './manifest.ts'
import type { TarballEntry, TarballStore, TarballWriter } from './store.ts'

/**
 * The tarball store over any storage that streams: names, manifests and the order of writes.
 *
 * Publishing, and why a crash at any point leaves the version before as it was:
 * 1. The tarball is written under a temporary key, flushed and checked.
 * 2. The manifest too. Its temporary key says which version it belongs to.
 * 3. The tarball gets its name. A crash from here on leaves a whole tarball without a manifest: the sweep finds the
 *    manifest of step 2 beside it and takes the tarball away again, because nobody was told that it exists.
 * 4. The manifest gets its name: now the version is published.
 */
export function createTarballStore(driver: StreamingDriver, ownerId: string): TarballStore {
  const temporaryKey = (finalKey: string) => `${temporaryPrefix(ownerId)}${createId()}-${finalKey}`

  async function list(): Promise<TarballEntry[]> {
    const entries = (await driver.listEntries()).flatMap(({ key, size }) => {
      const parsed = parseTarballFileName(key)
      return parsed ? [{ ...parsed, fileName: key, size }] : []
    })
    return entries.sort((left, right) => left.environment.localeCompare(right.environment) || right.version - left.version)
  }

  async function find(environment: string, version: number): Promise<TarballEntry | undefined> {
    const fileName = tarballFileName(environment, version)
    const found = await driver.stat(fileName)
    return found && { environment, version, fileName, size: found.size }
  }

  return {
    list,
    find,
    async listVersions(environment) {
      return (await list()).filter((entry) => entry.environment === environment)
    },

    async readManifest(environment, version) {
      const entry = await find(environment, version)
      const fileName = tarballFileName(environment, version)
      if (!entry) throw new HakuError('tarball.not_found', `${fileName} is not on the shared storage. Was it removed? "hakuriver.docker list-tars" shows what there is.`)
      const json = await readText(driver, manifestFileName(environment, version))
      if (json === undefined) return undefined
      return checkManifest(json, entry)
    },

    read: (environment, version, range) => driver.openRange(tarballFileName(environment, version), range),

    async createWriter(environment, version) {
      const tarballKey = tarballFileName(environment, version)
      const file = await driver.createFile(temporaryKey(tarballKey))
      return createWriter({ driver, file, tarballKey, manifestKey: manifestFileName(environment, version), temporaryKey })
    },

    async remove(environment, version) {
      await driver.removeItem?.(manifestFileName(environment, version), {})
      await driver.removeItem?.(tarballFileName(environment, version), {})
    },

    async sweep() {
      const litter = (await driver.listEntries()).map(({ key }) => key).filter((key) => key.startsWith(temporaryPrefix(ownerId)))
      const unfinished = (await Promise.all(litter.map((key) => unfinishedTarball(driver, key, ownerId)))).filter((key) => key !== undefined)
      // Tarballs first: without the temporary manifest nobody would know them any more.
      for (const key of [...unfinished, ...litter]) await driver.removeItem?.(key, {})
      return [...unfinished, ...litter]
    },

    freeSpace: () => driver.freeSpace(),
  }
}

// --- internal ---

interface WriterContext {
  driver: StreamingDriver
  file: StreamedFile
  tarballKey: string
  manifestKey: string
  temporaryKey(finalKey: string): string
}

function createWriter({ driver, file, tarballKey, manifestKey, temporaryKey }: WriterContext): TarballWriter {
  return {
    get position() {
      return file.position
    },
    write: (chunk) => file.write(chunk),
    patch: (position, chunk) => file.patch(position, chunk),
    finish: () => file.finish(),
    readBack: () => file.readBack(),
    abort: () => file.abort(),
    async publish(manifest) {
      const note = await driver.createFile(temporaryKey(manifestKey))
      try {
        await note.write(Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`))
        await note.finish()
        await file.commit(tarballKey)
        await note.commit(manifestKey).catch(async (error: unknown) => {
          await driver.removeItem?.(tarballKey, {})
          throw error
        })
      } catch (error) {
        await note.abort()
        throw error
      }
    },
  }
}

async function readText(driver: StreamingDriver, key: string): Promise<string | undefined> {
  try {
    return await text(await driver.openRange(key))
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
  return manifest
}

/** The tarball that a crash left between its own name and that of its manifest. */
async function unfinishedTarball(driver: StreamingDriver, temporary: string, ownerId: string): Promise<string | undefined> {
  const finalKey = temporary.slice(temporaryPrefix(ownerId).length).replace(/^[0-9a-z]{26}-/, '')
  const tarball = parseTarballFileName(finalKey.replace(/\.json$/, '.tar'))
  if (!finalKey.endsWith('.json') || !tarball) return undefined
  const tarballKey = tarballFileName(tarball.environment, tarball.version)
  const isThere = (await driver.stat(tarballKey)) !== undefined
  const isPublished = (await driver.stat(finalKey)) !== undefined
  return isThere && !isPublished ? tarballKey : undefined
}
