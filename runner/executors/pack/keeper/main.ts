import { createInterface } from 'node:readline'
import { createDockerEngine } from '#core/engine/docker.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { createAgents } from './agents.ts'
import { ItemFailure, keepItem } from './keep-item.ts'
import type { KeepAnswer, KeepRequest } from './protocol.ts'

/**
 * Keeps the outputs and exit codes of items that share containers: a program of its own, because it holds the pipes and
 * the agents that start them, and must outlive the Runner. Called with the socket of the Engine. It ends when its Runner is gone and the last
 * of its items is over.
 */

// Only its items end it: not the terminal of the Runner, nor the stop of a unit.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
// Nobody is left to hear.
process.stdout.on('error', () => undefined)

const engine = createDockerEngine({ socketPath: process.argv[2] ?? '' })
const agents = createAgents(engine)
const working = new Set<Promise<void>>()

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const work = serve(JSON.parse(line) as KeepRequest).finally(() => working.delete(work))
    working.add(work)
  })
  .on('close', () => void endLater())

async function serve({ request, agent, item }: KeepRequest): Promise<void> {
  const answer = (rest: Omit<KeepAnswer, 'request'>) => process.stdout.write(`${JSON.stringify({ request, ...rest } satisfies KeepAnswer)}\n`)
  try {
    if (item) await keepItem({ engine, agents }, agent, item, () => answer({}))
    else answer(await agents.open(agent).then(() => ({})))
  } catch (error) {
    if (error instanceof ItemFailure) answer({ failure: error.failure })
    else answer({ error: { code: isHakuError(error) ? error.code : 'internal.error', message: errorMessage(error) } })
  }
}

async function endLater(): Promise<void> {
  while (working.size > 0) await Promise.all(working)
  agents.close()
}
