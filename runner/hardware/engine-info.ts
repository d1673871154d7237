import type { HeartbeatBody } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { errorMessage } from '#core/errors.ts'

export type EngineFacts = HeartbeatBody['engine']

/** @returns a function that asks the Engine about itself; `null` while it can not be reached, which is logged once per change */
export function createEngineProbe(engine: Engine): () => Promise<EngineFacts> {
  let problem: string | undefined
  return async () => {
    try {
      const { version, storageDriver, architecture } = await engine.info()
      if (problem !== undefined) console.error('[hakuriver] [runner] the Docker Engine answers again')
      problem = undefined
      return { version, storageDriver, architecture }
    } catch (error) {
      const message = errorMessage(error)
      if (message !== problem) console.error(`[hakuriver] [runner] ${message}`)
      problem = message
      return null
    }
  }
}
