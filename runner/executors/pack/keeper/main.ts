import { createInterface } from 'node:readline'
import { createDockerEngine } from '#core/engine/docker.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { keepItem } from './keep-item.ts'
import type { KeepAnswer, KeepOrder } from './protocol.ts'

/**
 * Keeps the outputs and exit codes of items that share containers: a program of its own, because an Engine gives them to
 * whoever has started the process, once, and this one outlives the Runner. Called with the socket of the Engine. It ends when its Runner is
 * gone and the last of its items is over.
 */

// Only its items end it: not the terminal of the Runner, nor the stop of a unit.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
// Nobody is left to hear.
process.stdout.on('error', () => undefined)

const engine = createDockerEngine({ socketPath: process.argv[2] ?? '' })

createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line) as KeepOrder
  const answer = (error: KeepAnswer['error']) => process.stdout.write(`${JSON.stringify({ directory: order.directory, error } satisfies KeepAnswer)}\n`)
  keepItem(engine, order, () => answer(null)).catch((error: unknown) => {
    console.error(`${order.directory}: ${errorMessage(error)}`)
    answer({ code: isHakuError(error) ? error.code : 'internal.error', message: errorMessage(error) })
  })
})
