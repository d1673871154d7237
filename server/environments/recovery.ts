import type { Operation } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { isOurs } from './containers.ts'

/** What packaging stores before it touches anything. */
export interface PackagingUndo {
  containerId: string
  wasRunning: boolean
  /** The image it commits to, removed afterwards. */
  imageTag: string
}

/** What creating a container stores before it does. */
export interface CreateUndo {
  name: string
}

/** Undoes what an operation had begun when the Host was killed. */
export async function undoOperation(engine: Engine, operation: { kind: Operation['kind']; stored: unknown }): Promise<void> {
  if (operation.kind === 'create_version') await undoPackaging(engine, operation.stored as PackagingUndo)
  else await undoCreate(engine, operation.stored as CreateUndo)
}

/** Gives the container back as it was found. */
export async function undoPackaging(engine: Engine, { containerId, wasRunning, imageTag }: PackagingUndo): Promise<void> {
  await engine.removeImage(imageTag)
  if (wasRunning && (await engine.inspectContainer(containerId))) await engine.startContainer(containerId)
}

// --- internal ---

async function undoCreate(engine: Engine, { name }: CreateUndo): Promise<void> {
  const container = await engine.inspectContainer(name)
  if (isOurs(container, name)) await engine.removeContainer(container.id)
}
