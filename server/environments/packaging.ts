import { userInfo } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import type { Operation, Version } from '#core/api/schemas.ts'
import type { ContainerDetails, Engine } from '#core/engine/engine.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { imageTag, packagingTag, tarballFileName } from '#core/paths.ts'
import { writeArchive } from '#core/tarballs/archive.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore, TarballWriter } from '#core/tarballs/store.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import { type Containers, STOP_GRACE_SECONDS } from './containers.ts'
import { type PackagingUndo, undoPackaging } from './recovery.ts'
import { toVersion } from './versions.ts'

/** Packaging of an environment's container as a new version: the guide's six steps, as one operation. */
export interface Packaging {
  /** @throws `container.not_found`, `environment.busy` */
  start(name: string, options: { note: string }): Promise<Operation>
}

export interface PackagingOptions {
  engine: Engine
  containers: Pick<Containers, 'find'>
  operations: Operations
  tarballs: TarballStore
  keepVersions: number
  /** Versions that unfinished tasks were promised: they are not pruned. */
  versionsInUse(environment: string): ReadonlySet<number>
}

export function createPackaging(options: PackagingOptions): Packaging {
  const { engine, containers, operations } = options
  return {
    async start(name, { note }) {
      await containers.find(name)
      return operations.start('create_version', name, async (context) => {
        const container = await containers.find(name)
        const undo: PackagingUndo = { containerId: container.id, wasRunning: container.status === 'running', imageTag: packagingTag(name, context.id) }
        await context.setUndo(undo)
        let version: Version
        try {
          version = await packageContainer(options, { name, note, container, undo, context })
        } catch (error) {
          await giveBack(engine, undo, { cause: error, done: () => context.setUndo(null) })
          throw error
        }
        await context.report({ phase: 'restart' })
        await undoPackaging(engine, undo)
        await context.setUndo(null)
        return version
      })
    },
  }
}

// --- internal ---

interface Job {
  name: string
  note: string
  container: ContainerDetails
  undo: PackagingUndo
  context: OperationContext
}

/** Steps 1 to 5; what they leave to be undone on the Engine is the caller's, in success and in failure. */
async function packageContainer(options: PackagingOptions, job: Job): Promise<Version> {
  const { engine, tarballs } = options
  const { name, container, context, undo } = job
  const version = await nextVersion(tarballs, name)

  await context.report({ phase: 'stop' })
  if (undo.wasRunning) await engine.stopContainer(container.id, STOP_GRACE_SECONDS)
  context.signal.throwIfAborted()

  await context.report({ phase: 'commit' })
  const [repository = '', tag = ''] = undo.imageTag.split(':')
  const imageId = await engine.commitContainer(container.id, { repository, tag, author: '', comment: job.note })
  context.signal.throwIfAborted()

  await context.report({ phase: 'save' })
  const writer = await tarballs.createWriter(name, version)
  try {
    const manifest = await save(options, { ...job, writer, imageId, version })
    context.signal.throwIfAborted()
    await context.report({ phase: 'publish', bytes: manifest.size, totalBytes: manifest.size })
    await writer.publish(manifest)
  } catch (error) {
    await writer.abort()
    throw error
  }

  // From here on the version is there for everybody: what follows is no longer undone.
  await context.report({ phase: 'prune' })
  await prune(options, name)
  const entry = await tarballs.find(name, version)
  if (!entry) throw new HakuError('tarball.not_found', `${tarballFileName(name, version)} was published and is gone already. Did somebody remove it?`)
  return toVersion(tarballs, entry)
}

async function save({ engine }: PackagingOptions, job: Job & { writer: TarballWriter; imageId: string; version: number }): Promise<VersionManifest> {
  const { name, note, container, context, writer, imageId, version } = job
  const committed = await engine.inspectImage(imageId)
  if (!committed) throw new HakuError('image.not_found', `The image that was just committed from ${name} is gone. Was it removed by another program?`)
  const base = await engine.inspectImage(container.imageId)
  const created = new Date().toISOString()
  const author = userInfo().username
  const archive = await writeArchive({
    source: await engine.saveImage(imageId, { signal: context.signal }),
    writer,
    expectedLayers: committed.layers,
    image: { environment: name, version, repoTag: imageTag(name), baseConfig: base?.config, author, created },
    signal: context.signal,
    onProgress: (bytes) => void context.report({ phase: 'save', bytes, totalBytes: Math.max(committed.size, bytes) }),
  })
  return { formatVersion: 1, environment: name, version, baseImage: container.image, created, author, note, ...archive, architecture: committed.architecture, os: committed.os }
}

/** Grows even if the clock goes back. */
async function nextVersion(tarballs: TarballStore, name: string): Promise<number> {
  const [newest] = await tarballs.listVersions(name)
  return Math.max(Math.floor(Date.now() / 1000), (newest?.version ?? 0) + 1)
}

async function prune({ tarballs, keepVersions, versionsInUse }: PackagingOptions, name: string): Promise<void> {
  const inUse = versionsInUse(name)
  const superseded = (await tarballs.listVersions(name)).slice(keepVersions)
  for (const { version } of superseded) if (!inUse.has(version)) await tarballs.remove(name, version)
}

/** Between two tries to reach an Engine that went away in the middle. */
const ENGINE_RETRY_MS = 2000

/**
 * After a failure. If this fails too, both are told. An Engine that is away is tried until it is back; whatever is left when
 * the Host ends, its next start tries again.
 */
async function giveBack(engine: Engine, undo: PackagingUndo, { cause, done }: { cause: unknown; done: () => Promise<void> }): Promise<void> {
  try {
    await undoPackaging(engine, undo)
    await done()
  } catch (error) {
    if (isHakuError(error, 'engine.unavailable')) void giveBackLater(engine, undo, done)
    const code = isHakuError(cause) ? cause.code : 'internal.error'
    throw new HakuError(code, `${errorMessage(cause)} The container could not be given back yet: ${errorMessage(error)} This is tried again until it works.`, { cause })
  }
}

async function giveBackLater(engine: Engine, undo: PackagingUndo, done: () => Promise<void>): Promise<void> {
  await setTimeout(ENGINE_RETRY_MS, undefined, { ref: false })
  try {
    await undoPackaging(engine, undo)
    await done()
    console.error(`[hakuriver] [operation] the Engine is back, and so is what an interrupted packaging had stopped`)
  } catch (error) {
    if (isHakuError(error, 'engine.unavailable')) return giveBackLater(engine, undo, done)
    console.error(`[hakuriver] [operation] the container ${undo.containerId} could not be given back: ${errorMessage(error)}`)
  }
}
