import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { ImportedVersion, ImportQuery } from '#core/api/schemas.ts'
import { imageArchitecture } from '#core/engine/architecture.ts'
import type { Engine } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { assembleTarball } from '#core/tarballs/assemble.ts'
import { identityOf, type ImageIdentity } from '#core/tarballs/image-config.ts'
import { createSpool, type SpooledLayer } from '#core/tarballs/spool.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { Operations } from '../../operations/operations.ts'
import { type Basis, findBasis, startOf } from '../basis.ts'
import type { VersionMarks } from '../marks.ts'
import { assertStorageRoom } from '../room.ts'
import type { Versions } from '../versions.ts'
import { findImage, type ImportedImage } from './image.ts'
import { createLimits } from './limits.ts'
import { toRefusal } from './refusal.ts'
import { takeApart } from './take-apart.ts'

/** Images from elsewhere as versions. */
export interface Imports {
  /**
   * Makes the archive of an image the newest version of an environment. All of it is checked before anything is stored. Nothing is pruned for it.
   *
   * @throws `import.refused`, `environment.busy`, `storage.full`
   */
  run(environment: string, query: ImportQuery, archive: Readable, signal: AbortSignal): Promise<ImportedVersion>
}

export interface ImportsOptions {
  engine: Pick<Engine, 'info'>
  operations: Pick<Operations, 'exclusively'>
  tarballs: TarballStore
  versions: Versions
  marks: VersionMarks
  /** Where layers lie until they are published, one directory for each import. */
  spoolDirectory: string
}

export function createImports(options: ImportsOptions): Imports {
  const { operations, tarballs, versions, spoolDirectory } = options
  return {
    async run(environment, query, archive, signal) {
      const spool = await createSpool(join(spoolDirectory, `import-${createId()}`))
      try {
        const limits = createLimits({ spool, tarballs })
        const image = findImage(await takeApart(archive, { spool, limits, signal }))
        // Others may work on the environment during the upload, but not now.
        const version = await operations.exclusively(environment, () => publish(options, { environment, query, image, signal }))
        return { ...(await versions.describe(environment, version)), warnings: await warningsOf(options, image) }
      } catch (error) {
        signal.throwIfAborted()
        throw toRefusal(error)
      } finally {
        await spool.close()
      }
    },
  }
}

// --- internal ---

interface Job {
  environment: string
  query: ImportQuery
  image: ImportedImage
  signal: AbortSignal
}

async function publish(options: ImportsOptions, job: Job): Promise<number> {
  const { tarballs, versions, marks } = options
  const basis = await findBasis({ tarballs, marks, environment: job.environment, diffIds: job.image.layers.map(({ digest }) => digest), signal: job.signal })
  // It may be one of another environment, which nobody keeps from being removed.
  return basis ? versions.use(basis.environment, basis.version, () => write(options, job, basis)) : write(options, job, undefined)
}

async function write({ tarballs, versions }: ImportsOptions, { environment, query, image, signal }: Job, basis: Basis | undefined): Promise<number> {
  const version = await versions.next(environment)
  const added: SpooledLayer[] = image.layers.slice(basis?.layers.length ?? 0)
  await assertStorageRoom(tarballs, added.reduce((sum, { size }) => sum + size, 0))
  const identity: ImageIdentity = { ...identityOf(image.config), environment, version, author: query.author || image.author, created: new Date().toISOString() }
  const writer = await tarballs.createWriter(environment, version, basis && startOf(basis))
  try {
    const manifest = await assembleTarball({
      writer, reused: basis?.layers ?? [], added, baseLayers: image.layers.length, baseImage: image.reference || 'an imported archive', note: query.note, image: identity, signal,
    })
    signal.throwIfAborted()
    await writer.publish(manifest)
    return version
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Nodes may be of another kind than the Host, so this is no refusal. */
async function warningsOf({ engine }: ImportsOptions, { architecture }: ImportedImage): Promise<string[]> {
  try {
    const own = imageArchitecture((await engine.info()).architecture)
    return own === architecture ? [] : [`The image is for ${architecture}, and the Host is ${own}: it only runs on nodes that are ${architecture}.`]
  } catch (error) {
    if (isHakuError(error, 'engine.unavailable')) return []
    throw error
  }
}
