import type { Operation } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { errorMessage } from '#core/errors.ts'
import { packagingTag } from '#core/paths.ts'
import { isOurs } from './containers.ts'
import { removeOwnImage } from './own-image.ts'

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
  /** The tag of an image that was loaded for the container alone. */
  ownImage?: string
}

/** Undoes what an operation had begun when the Host was killed. */
export async function undoOperation(engine: Engine, operation: { kind: Operation['kind']; stored: unknown }): Promise<void> {
  switch (operation.kind) {
    case 'create_container':
    case 'fork':
      return undoCreate(engine, operation.stored as CreateUndo)
    case 'create_version':
      return undoPackaging(engine, operation.stored as PackagingUndo)
    default:
      // The others leave nothing but files that the next start sweeps.
      return
  }
}

/** A commit goes on in the Engine when the Host that asked for it is dead: its image may come after all was undone. */
const LATE_IMAGE_CHECKS_MS = [0, 5000, 30_000, 300_000]

/** Removes the images of interrupted packagings, now and a few times later. */
export function removeLateImages(engine: Engine, interrupted: readonly Operation[]): void {
  for (const { environment, id } of interrupted) {
    for (const delay of LATE_IMAGE_CHECKS_MS) setTimeout(() => void removeLateImage(engine, packagingTag(environment, id)), delay).unref()
  }
}

/** Gives the container back as it was found. */
export async function undoPackaging(engine: Engine, { containerId, wasRunning, imageTag }: PackagingUndo): Promise<void> {
  await engine.removeImage(imageTag)
  if (wasRunning && (await engine.inspectContainer(containerId))) await engine.startContainer(containerId)
}

// --- internal ---

async function removeLateImage(engine: Engine, imageTag: string): Promise<void> {
  try {
    await engine.removeImage(imageTag)
  } catch (error) {
    console.error(`[hakuriver] [operation] the image ${imageTag} of an interrupted packaging could not be removed: ${errorMessage(error)}`)
  }
}

async function undoCreate(engine: Engine, { name, ownImage }: CreateUndo): Promise<void> {
  const container = await engine.inspectContainer(name)
  if (isOurs(container, name)) await engine.removeContainer(container.id)
  await removeOwnImage(engine, ownImage)
}
