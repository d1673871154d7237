import type { TestProject } from 'vitest/node'
import { buildAll } from '../build/build.mjs'
import { EngineSetupError, provideEngine } from '../build/engine-setup.mjs'

declare module 'vitest' {
  interface ProvidedContext {
    /** Socket of the Engine for tests, or why there is none. */
    engine: { socketPath: string } | { missing: string }
  }
}

/** Builds once, and sees to an Engine: one that answers, else one that is installed and started for the tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!process.env['HAKURIVER_TEST_NO_BUILD']) await buildAll()
  try {
    const engine = await provideEngine({ log: (line) => console.error(`[hakuriver] [test] ${line}`) })
    project.provide('engine', { socketPath: engine.socketPath })
    return async () => engine.stop?.()
  } catch (error) {
    if (!(error instanceof EngineSetupError)) throw error
    console.error(`[hakuriver] [test] tests that need a Docker Engine are skipped: ${error.message}`)
    project.provide('engine', { missing: error.message })
    return () => Promise.resolve()
  }
}
