import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'

export interface Faults {
  /** Fails the calls of this method with `error`, until it is unset. */
  failOn?: keyof Engine | undefined
  error?: Error
  /** The same, but it does all the same what it was asked for. */
  failAfter?: keyof Engine | undefined
  /** Nothing answers any more. */
  isDown?: boolean
  /** As one whose containers have no writable layer that can be read. */
  hidesUpperDir?: boolean
  /** Called before each call: to act in the middle of something. */
  before?: (method: keyof Engine) => Promise<void> | void
}

/** An Engine with knobs to fail; the rest is the real one. */
export function withFaults(engine: Engine, faults: Faults): Engine {
  return new Proxy(engine, {
    get(target, method: keyof Engine) {
      return async (...args: unknown[]) => {
        await faults.before?.(method)
        if (faults.isDown) throw new HakuError('engine.unavailable', 'The Docker Engine is away.')
        if (faults.failOn === method) throw faults.error ?? new Error(`${method} fails`)
        const answer = await (target[method] as (...parameters: unknown[]) => unknown)(...args)
        if (faults.failAfter === method) throw faults.error ?? new Error(`${method} fails`)
        return faults.hidesUpperDir && method === 'inspectContainer' && answer ? { ...answer, upperDir: undefined } : answer
      }
    },
  })
}
