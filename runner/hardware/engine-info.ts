import { setTimeout } from 'node:timers/promises'
import type { HeartbeatBody } from '#core/api/schemas.ts'
import type { Engine, EngineInfo } from '#core/engine/engine.ts'
import { errorMessage, HakuError } from '#core/errors.ts'

export type EngineFacts = HeartbeatBody['engine']

/** A stuck Engine must not hold up the heartbeat. */
const PATIENCE_MS = 3000

/** @returns a function that asks the Engine about itself; `null` while it does not answer, which is logged once per change */
export function createEngineProbe(engine: Pick<Engine, 'info'>): () => Promise<EngineFacts> {
  let problem: string | undefined
  let asking: Promise<EngineInfo> | undefined

  async function ask(): Promise<EngineInfo> {
    asking ??= engine.info().finally(() => (asking = undefined))
    const answer = await Promise.race([asking, setTimeout(PATIENCE_MS, undefined, { ref: false })])
    if (!answer) throw new HakuError('engine.unavailable', `The Docker Engine does not answer within ${PATIENCE_MS / 1000} s. Is the Docker daemon stuck?`)
    return answer
  }

  return async () => {
    try {
      const { version, storageDriver, architecture } = await ask()
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
