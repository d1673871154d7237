import { mkdirSync } from 'node:fs'
import { constants } from 'node:os'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hottest, readProfile } from './run/profile.ts'
import { toTable } from './run/report.ts'
import { simulate, type SimulationOptions } from './run/simulate.ts'

export interface MainOptions extends Omit<SimulationOptions, 'distDir' | 'signal' | 'onPhase'> {
  json: boolean
}

/** Simulates, prints what came out, and resolves to the exit code. Ctrl-C and SIGTERM end everything that it has started. */
export async function main({ json, profileDir, ...options }: MainOptions): Promise<number> {
  const interrupt = new AbortController()
  let interruptedBy: NodeJS.Signals | undefined
  const stop = (signal: NodeJS.Signals) => {
    interruptedBy ??= signal
    interrupt.abort(new Error(signal))
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop)
  const profiles = profileDir === undefined ? undefined : resolve(profileDir)
  if (profiles !== undefined) mkdirSync(profiles, { recursive: true })
  try {
    const simulation = await simulate({
      ...options,
      profileDir: profiles,
      // This is dist/simulator/main.mjs.
      distDir: fileURLToPath(new URL('..', import.meta.url)),
      signal: interrupt.signal,
      onPhase: (phase) => process.stderr.write(`[hakuriver] [simulate] ${phase} …\n`),
    })
    process.stdout.write(`${json ? JSON.stringify(simulation, null, 2) : toTable(simulation)}\n`)
    if (profiles !== undefined) process.stderr.write(`${hottest(readProfile(profiles), options.tasks)}\n`)
    return simulation.checks.every(({ passed }) => passed) ? 0 : 1
  } catch (error) {
    if (interruptedBy === undefined) throw error
    return 128 + constants.signals[interruptedBy]
  }
}
