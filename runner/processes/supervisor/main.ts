import { rmSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { errorMessage } from '#core/errors.ts'
import { processPaths, type ProcessPaths } from '#core/paths.ts'
import { outputChannels } from '#core/tasks/channels.ts'
import { claim, type EndedProcess, FORMAT, readJson, writeJson } from '../../keeping/files.ts'
import { untilWritten } from '../../keeping/write.ts'
import { StartFailure } from '../../linux/command.ts'
import { identify } from '../../linux/proc.ts'
import type { ProcessOrder } from '../order.ts'
import { leaveScope, openScope } from '../scope/scope.ts'
import { keepOutput, type OutputKeeper } from './output.ts'
import { adoptProcess, type Ending, startProcess, type Supervised } from './start.ts'

/**
 * The supervisor of one plain process: a program of its own, so that the process, its exit code and its output outlive the
 * Runner. Called with the directory of the execution, and which supervisor of it this is. Only the first one starts the process.
 */

/** A process that not even SIGKILL ends waits for a device: nobody can tell for how long. */
const KILL_PATIENCE_MS = 10_000
/** Whoever holds the output open then was never part of the task. */
const OUTPUT_PATIENCE_MS = 5000

async function main([directory = '', generation = '']: string[]): Promise<void> {
  // Only its process ends it: not the terminal of the Runner, nor the stop of a unit.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
  const paths = processPaths(directory)
  if (!claim(paths.claim(Number(generation)), { format: FORMAT, ...identify(process.pid) })) return
  const order = readJson<ProcessOrder>(paths.order)
  if (!order) throw new Error(`${paths.order} is not there`)
  const output = keepOutput(paths, order.maxOutputBytes)
  const ended = await supervise(paths, order, output, generation === '1')
  await untilWritten(() => writeJson(paths.ended, ended))
  for (const channel of outputChannels) rmSync(paths.pipe(channel), { force: true })
}

async function supervise(paths: ProcessPaths, order: ProcessOrder, output: OutputKeeper, isFirst: boolean): Promise<EndedProcess> {
  let supervised: Supervised
  try {
    supervised = isFirst ? await startProcess(paths, order, output) : adopt(paths, order)
  } catch (error) {
    if (!(error instanceof StartFailure)) throw error
    const { reason, message, exitCode } = error
    output.closeWriters()
    return { ...(await finish(order, output, undefined, { exitCode, note: null })), failure: { reason, message } }
  }
  output.closeWriters()
  const ending = await supervised.ended
  return finish(order, output, supervised.id, ending)
}

function adopt(paths: ProcessPaths, order: ProcessOrder): Supervised {
  leaveScope(order.scope)
  return adoptProcess(paths, order)
}

/** The task is over with its first process: what is left of it is ended, as in a container. */
async function finish(order: ProcessOrder, output: OutputKeeper, id: Supervised['id'], { exitCode, note }: Ending): Promise<EndedProcess> {
  const finished = new Date().toISOString()
  const scope = openScope(order.scope, id)
  const left = await scope.kill(KILL_PATIENCE_MS)
  await Promise.race([output.ended, setTimeout(OUTPUT_PATIENCE_MS, undefined, { ref: false })])
  await output.close()
  const outOfMemory = scope.outOfMemory()
  const stuck = left === 0 ? null : `${left} of its processes can not be ended, not even by SIGKILL.`
  if (left === 0) await scope.remove().catch((error: unknown) => console.error(errorMessage(error)))
  return { format: FORMAT, exitCode, finished, outOfMemory, failure: null, note: [note, stuck].filter(Boolean).join(' ') || null }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
