import { inject } from 'vitest'
import { createDockerEngine } from '#core/engine/docker.ts'
import type { Engine } from '#core/engine/engine.ts'

const provided = inject('engine')

/** Why tests with an Engine can not run here; `undefined` if they can. The reason is printed by the global set-up. */
export const engineMissing: string | undefined = 'missing' in provided ? provided.missing : undefined

export const socketPath: string = 'socketPath' in provided ? provided.socketPath : ''

/** The Engine for tests. */
export function testEngine(): Engine {
  return createDockerEngine({ socketPath })
}
