import type { Runner } from './runner.ts'

let current: Runner | undefined

/** Makes the Runner known to the routes. Called once, before the server listens. */
export function setContext(runner: Runner): void {
  current = runner
}

/** The Runner, for routes. */
export function useContext(): Runner {
  if (!current) throw new Error('the context is not set: the server answers before it has started')
  return current
}
