import { type Container, createContainerBody, type ForkBody, type Operation } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { forkTag, tarballFileName } from '#core/paths.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import { manifestOf, openArchive } from './archive.ts'
import { assertNameFree, type Containers, createIdle } from './containers.ts'
import { removeOwnImage } from './own-image.ts'
import type { VersionMarks } from './marks.ts'
import type { CreateUndo } from './recovery.ts'
import { bytesOf, markingDamage } from './verify.ts'
import type { Versions } from './versions.ts'

/** Persistent containers made from versions: a new environment that begins where another stands, or one whose container is gone. */
export interface Forks {
  /** @throws `environment.no_version`, `tarball.not_found`, `tarball.damaged`, `version.without_manifest`, `container.exists`, `container.name_taken`, `environment.busy` */
  start(environment: string, body: ForkBody): Promise<Operation>
}

export interface ForksOptions {
  engine: Engine
  containers: Pick<Containers, 'get'>
  operations: Operations
  tarballs: TarballStore
  versions: Pick<Versions, 'use'>
  marks: Pick<VersionMarks, 'set'>
}

export function createForks(options: ForksOptions): Forks {
  const { engine, operations, tarballs, versions } = options
  return {
    async start(environment, { name, version: wanted }) {
      await assertNameFree(engine, name)
      // What is current now is meant, not what may be when it is loaded.
      const version = await versions.use(environment, wanted, async (resolved) => (await manifestOf(tarballs, environment, resolved.version)).version)
      return operations.start('fork', name, (context) =>
        versions.use(environment, version, async () => {
          const manifest = await manifestOf(tarballs, environment, version)
          return fork(options, { name, manifest, context })
        }))
    },
  }
}

// --- internal ---

interface Job {
  name: string
  manifest: VersionManifest
  context: OperationContext
}

async function fork({ engine, containers, tarballs, marks }: ForksOptions, { name, manifest, context }: Job): Promise<Container> {
  await assertNameFree(engine, name)
  const tag = forkTag(name, manifest.environment, manifest.version)
  const undo: CreateUndo = { name, ownImage: tag }
  await context.setUndo(undo)
  try {
    await tagVersion({ engine, tarballs, marks }, { tag, manifest, context })
  } catch (error) {
    await removeOwnImage(engine, tag)
    await context.setUndo(null)
    throw error
  }
  await createIdle(engine, { body: createContainerBody.parse({ name, image: tag }), mounts: [], context, undo })
  return containers.get(name)
}

/**
 * Has the version in the Host's Engine, under a tag that is the container's own: it is there as long as the container, and nobody
 * else's tag is moved or taken away, not even on a machine whose Engine also serves a Runner.
 */
async function tagVersion({ engine, tarballs, marks }: Pick<ForksOptions, 'engine' | 'tarballs' | 'marks'>, { tag, manifest, context }: Omit<Job, 'name'> & { tag: string }): Promise<void> {
  const [repository = '', name = ''] = tag.split(':')
  const known = await findImage(engine, manifest)
  if (known !== undefined) return engine.tagImage(known, repository, name)
  const totalBytes = bytesOf(manifest.layers)
  await context.report({ phase: 'load', bytes: 0, totalBytes })
  const archive = openArchive(tarballs, manifest, { tag, onProgress: (bytes) => void context.report({ phase: 'load', bytes, totalBytes }) })
  await markingDamage(marks, manifest, () => engine.loadImage(archive, { signal: context.signal }))
  if ((await findImage(engine, manifest)) === undefined) throw new HakuError('tarball.damaged', `${tarballFileName(manifest.environment, manifest.version)} was loaded, and the image it should hold is not there. Package the environment again.`)
}

async function findImage(engine: Engine, { configDigest, manifestDigest }: VersionManifest): Promise<string | undefined> {
  for (const digest of [configDigest, manifestDigest]) {
    const image = await engine.inspectImage(digest)
    if (image) return image.id
  }
  return undefined
}
