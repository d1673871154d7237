import type { TaskOrder } from '#core/api/schemas.ts'
import { createRandom } from '../random.ts'

/** What a task does on a fake node. */
export interface Behaviour {
  /** Before it runs, if the node does not hold its version yet. */
  syncMs: number
  /** Until its container runs. */
  startMs: number
  /** From then to its own end. `Infinity`: it ends when it is killed. */
  durationMs: number
  exitCode: number
  /** It needs more memory than it may have. */
  outOfMemory: boolean
}

export type Behave = (order: TaskOrder) => Behaviour

export interface BehaviourOptions {
  /** Mean of the duration. */
  meanMs?: number
  spread?: 'constant' | 'uniform' | 'exponential'
  startMs?: number
  syncMs?: number
  /** Part of the executions that end with an exit code other than 0. */
  failures?: number
  seed?: number
}

/** Draws durations and exit codes. The same execution draws the same, wherever and whenever it is. */
export function createBehaviour({ meanMs = 0, spread = 'exponential', startMs = 0, syncMs = 0, failures = 0, seed = 1 }: BehaviourOptions = {}): Behave {
  return ({ id, instance }) => {
    const random = createRandom(seed ^ hash(`${id}/${instance}`))
    const drawn = random.next()
    const factor = { constant: 1, uniform: 2 * drawn, exponential: -Math.log(1 - drawn) }[spread]
    const exitCode = random.next() < failures ? 1 + random.below(100) : 0
    return { syncMs, startMs, durationMs: meanMs * factor, exitCode, outOfMemory: false }
  }
}

// --- internal ---

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  return value
}
