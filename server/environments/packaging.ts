import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { CreateVersionBody, Operation, Version } from '#core/api/schemas.ts'
import { imageArchitecture } from '#core/engine/architecture.ts'
import type { ContainerDetails, ContainerStatus, Engine } from '#core/engine/engine.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { packagingTag } from '#core/paths.ts'
import { assembleTarball } from '#core/tarballs/assemble.ts'
import type { ImageIdentity } from '#core/tarballs/image-config.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import { createSpool } from '#core/tarballs/spool.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import { startOf } from './basis.ts'
import type { CapturedStates } from './capture/states.ts'
import { type TakenLayers, takeLayers } from './change.ts'
import { type Containers, STOP_GRACE_SECONDS } from './containers.ts'
import type { VersionMarks } from './marks.ts'
import { type PackagingUndo, undoPackaging } from './recovery.ts'
import { assertStorageRoom } from './room.ts'
import type { Trial, Trials } from './trial.ts'
import type { Versions } from './versions.ts'

/** Packaging of an environment's container as a new version, as one operation. */
export interface Packaging {
  /** @throws `container.not_found`, `environment.busy` */
  start(name: string, body: CreateVersionBody): Promise<Operation>
}

export interface PackagingOptions {
  engine: Engine
  containers: Pick<Containers, 'find'>
  operations: Operations
  tarballs: TarballStore
  versions: Versions
  marks: VersionMarks
  states: CapturedStates
  trials: Trials
  /** Where changes lie until they are published, one directory for each operation. */
  spoolDirectory: string
}

export function createPackaging(options: PackagingOptions): Packaging {
  const { engine, containers, operations } = options
  return {
    async start(name, body) {
      await containers.find(name)
      return operations.start('create_version', name, async (context) => {
        const container = await containers.find(name)
        const undo: PackagingUndo = { containerId: container.id, wasRunning: !STILL.has(container.status), imageTag: packagingTag(name, context.id) }
        await context.setUndo(undo)
        try {
          return await packageContainer(options, { name, body, container, undo, context })
        } catch (error) {
          await giveBackAfter(engine, undo, { cause: error, done: () => context.setUndo(null) })
          throw error
        }
      })
    },
  }
}

// --- internal ---

interface Job {
  name: string
  body: CreateVersionBody
  container: ContainerDetails
  undo: PackagingUndo
  context: OperationContext
}

async function packageContainer(options: PackagingOptions, job: Job): Promise<Version> {
  const { name, context, body } = job
  const version = await options.versions.next(name)
  const spool = await createSpool(join(options.spoolDirectory, context.id))
  const trial: Trial = { environment: name, version, test: body.test }
  let manifest: VersionManifest
  let taken: TakenLayers
  try {
    taken = await takeLayers({ ...options, ...job, spool, ...containerSteps(options, job) })
    await options.trials.announce(trial)
    manifest = await publish(options, { ...job, version, taken }).catch(async (error: unknown) => {
      await options.trials.withdraw(trial)
      throw error
    })
  } finally {
    await spool.close()
  }
  await undoPackaging(options.engine, job.undo)
  await context.setUndo(null)
  await options.trials.run(trial, context)
  // Only now: what fails its test is not what the next version is built on.
  await keepState(options, job, { taken, version })
  await context.report({ phase: 'prune' })
  await options.versions.prune(name, body.keep)
  return options.versions.describe(name, manifest.version)
}

/** In these nothing changes in a container. A paused one is captured as it was frozen, and stays so. */
const STILL: ReadonlySet<ContainerStatus> = new Set(['created', 'exited', 'dead', 'paused'])

/** Stopping, giving back and committing, as the undo record has them. */
function containerSteps({ engine }: PackagingOptions, { name, container, undo, context, body }: Job) {
  let before: ContainerDetails | undefined
  return {
    async stop() {
      await context.report({ phase: 'stop' })
      if (undo.wasRunning) await engine.stopContainer(container.id, STOP_GRACE_SECONDS)
      before = await engine.inspectContainer(container.id)
    },
    async assertUntouched() {
      const now = await engine.inspectContainer(container.id)
      if (now && before && now.status === before.status && now.started === before.started && STILL.has(now.status)) return
      throw new HakuError('environment.busy', `The container of ${name} was ${now ? 'started' : 'removed'} by another program while it was packaged, so what was read may be of two moments. Nothing was published; try again.`)
    },
    async giveBack() {
      await context.report({ phase: 'restart' })
      if (undo.wasRunning) await engine.startContainer(container.id)
      undo.wasRunning = false
      await context.setUndo(undo)
    },
    commit() {
      const [repository = '', tag = ''] = undo.imageTag.split(':')
      return engine.commitContainer(container.id, { repository, tag, author: body.author, comment: body.note })
    },
  }
}

/** The version is there. A state that can not be kept costs the next one a whole layer, and must not fail this one. */
async function keepState({ states }: PackagingOptions, { name, container }: Job, { taken, version }: { taken: TakenLayers; version: number }): Promise<void> {
  try {
    if (taken.tree) return await states.save(name, { containerId: container.id, upperDir: taken.upperDir, version, tree: taken.tree })
  } catch (error) {
    console.error(`[hakuriver] [packaging] the captured state of ${name} can not be kept, so the next version stores all of the change again: ${errorMessage(error)}`)
  }
  await states.remove(name)
}

function publish(options: PackagingOptions, job: Publication): Promise<VersionManifest> {
  const { basis } = job.taken
  // One of another environment is kept from being removed by nobody else.
  return basis && basis.environment !== job.name ? options.versions.use(basis.environment, basis.version, () => write(options, job)) : write(options, job)
}

type Publication = Job & { version: number; taken: TakenLayers }

async function write({ engine, tarballs }: PackagingOptions, job: Publication): Promise<VersionManifest> {
  const { name, body, container, context, version, taken } = job
  const { basis, added, baseLayers } = taken
  context.signal.throwIfAborted()
  const base = await engine.inspectImage(container.imageId)
  const { architecture } = await engine.info()
  const image: ImageIdentity = {
    environment: name,
    version,
    author: body.author,
    created: new Date().toISOString(),
    architecture: base?.architecture ?? imageArchitecture(architecture),
    os: base?.os ?? 'linux',
    variant: base?.variant,
    env: container.env,
    baseConfig: base?.config,
  }
  const newBytes = added.reduce((sum, { size }) => sum + size, 0)
  await context.report({ phase: 'copy', bytes: null, totalBytes: null })
  const writer = await tarballs.createWriter(name, version, basis && startOf(basis))
  try {
    await assertStorageRoom(tarballs, newBytes)
    const before = writer.position
    const manifest = await assembleTarball({
      writer, reused: basis?.layers ?? [], added, baseLayers, baseImage: container.image, note: body.note, image,
      signal: context.signal,
      onProgress: (bytes) => void context.report({ phase: 'write', bytes: bytes - before, totalBytes: Math.max(newBytes, bytes - before) }),
    })
    context.signal.throwIfAborted()
    await context.report({ phase: 'publish', bytes: manifest.newBytes, totalBytes: manifest.newBytes })
    await writer.publish(manifest)
    return manifest
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Between two tries to reach an Engine that went away in the middle. */
const ENGINE_RETRY_MS = 2000

/**
 * After a failure. If this fails too, both are told. An Engine that is away is tried until it is back; whatever is left when
 * the Host ends, its next start tries again.
 */
async function giveBackAfter(engine: Engine, undo: PackagingUndo, { cause, done }: { cause: unknown; done: () => Promise<void> }): Promise<void> {
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
