import type { Engine } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'

/** Removes the image that was loaded for one container. On an Engine that also serves a Runner, a task may still run in it: then it stays with that. */
export async function removeOwnImage(engine: Pick<Engine, 'removeImage'>, tag: string | undefined): Promise<void> {
  if (tag === undefined) return
  try {
    await engine.removeImage(tag)
  } catch (error) {
    if (!isHakuError(error, 'engine.conflict')) throw error
    console.error(`[hakuriver] [containers] the image ${tag} is still in use and stays: ${error.message}`)
  }
}
