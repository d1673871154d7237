import type { Operation, RollbackBody, Version } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { tarballFileName } from '#core/paths.ts'
import { assembleTarball, layersEnd } from '#core/tarballs/assemble.ts'
import { identityOf } from '#core/tarballs/image-config.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import type { OperationContext, Operations } from '../operations/operations.ts'
import { manifestOf } from './archive.ts'
import type { VersionMarks } from './marks.ts'
import { bytesOf, verifyLayers } from './verify.ts'
import type { Versions } from './versions.ts'

/** Making an older version current again: as a new version over the same layers, so that numbers go on growing. */
export interface Rollbacks {
  /** @throws `tarball.not_found`, `tarball.damaged`, `version.is_current`, `version.without_manifest`, `environment.busy` */
  start(environment: string, body: RollbackBody): Promise<Operation>
}

export interface RollbacksOptions {
  operations: Operations
  tarballs: TarballStore
  versions: Versions
  marks: VersionMarks
}

export function createRollbacks(options: RollbacksOptions): Rollbacks {
  const { operations, tarballs, versions } = options
  return {
    async start(environment, body) {
      await versions.use(environment, body.version, async () => {
        await assertNotCurrent(options, environment, body.version)
        await manifestOf(tarballs, environment, body.version)
      })
      return operations.start('rollback', environment, (context) => versions.use(environment, body.version, () => rollBack(options, { environment, body, context })))
    },
  }
}

// --- internal ---

interface Job {
  environment: string
  body: RollbackBody
  context: OperationContext
}

async function assertNotCurrent({ versions, marks }: RollbacksOptions, environment: string, version: number): Promise<void> {
  if (marks.get(environment, version).isCandidate) throw new HakuError('environment.busy', `${tarballFileName(environment, version)} is still being tested. It becomes current by itself if it passes.`)
  const { latest, older } = await versions.get(environment)
  const current = [latest, ...older].find((each) => each.current)
  if (current?.version === version) throw new HakuError('version.is_current', `${tarballFileName(environment, version)} is the current version of ${environment} already. "hakuriver env log ${environment}" shows the others.`)
  if (current?.restores === version) throw new HakuError('version.is_current', `The current version ${current.version} of ${environment} is that very one, made current by a rollback. "hakuriver env log ${environment}" shows the others.`)
}

async function rollBack(options: RollbacksOptions, { environment, body, context }: Job): Promise<Version> {
  const { tarballs, versions } = options
  // Another operation may have been faster.
  await assertNotCurrent(options, environment, body.version)
  const restored = await manifestOf(tarballs, environment, body.version)
  // Nobody should find out later that what saved them is damaged.
  const totalBytes = bytesOf(restored.layers)
  await context.report({ phase: 'verify', bytes: 0, totalBytes })
  await verifyLayers(restored, restored.layers, { ...options, signal: context.signal, onProgress: (bytes) => void context.report({ phase: 'verify', bytes, totalBytes }) })
  const version = await versions.next(environment)
  await context.report({ phase: 'copy' })
  const { layers, baseLayers, baseImage } = restored
  const writer = await tarballs.createWriter(environment, version, { environment, version: body.version, length: layersEnd(layers) })
  try {
    const manifest = await assembleTarball({
      writer, reused: layers, added: [], baseLayers, baseImage, note: body.note, restores: body.version, signal: context.signal,
      image: { ...identityOf(restored.config), environment, version, author: body.author, created: new Date().toISOString() },
    })
    await context.report({ phase: 'publish' })
    context.signal.throwIfAborted()
    await writer.publish(manifest)
  } catch (error) {
    await writer.abort()
    throw error
  }
  return versions.describe(environment, version)
}
