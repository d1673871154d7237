import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { constants as system } from 'node:os'
import { createInterface } from 'node:readline'
import { errorMessage } from '#core/errors.ts'
import { explainSpawnError, findProgram, StartFailure } from '../../../linux/command.ts'
import type { AgentEvent, AgentOrder } from './protocol.ts'

/**
 * Starts items: the only program of ours that runs in a container, with the limits and rights that the container has and as the user of its
 * items. A process that is its child costs a fraction of what an Engine takes to start one. It ends with its keeper.
 */

createInterface({ input: process.stdin })
  .on('line', (line) => void start(JSON.parse(line) as AgentOrder))
  .on('close', () => process.exit(0))
say({ ready: true })

async function start(order: AgentOrder): Promise<void> {
  const { item } = order
  try {
    const child = await spawnItem(order)
    say({ item, pid: child.pid ?? 0 })
  } catch (error) {
    const failure = error instanceof StartFailure ? error : new StartFailure('start_failed', errorMessage(error))
    say({ item, failure: { reason: failure.reason, message: failure.message, exitCode: failure.exitCode } })
  }
}

async function spawnItem({ item, command, env: own, workdir, stdout, stderr, oomScore }: AgentOrder): Promise<ChildProcess> {
  const env = { ...(process.env as Record<string, string>), ...own }
  if (!statSync(workdir, { throwIfNoEntry: false })?.isDirectory()) throw new StartFailure('start_failed', `The working directory ${workdir} is no directory in this environment. Choose another with --workdir.`)
  const file = findProgram({ command, env, workdir }, 'in this environment')
  // With both ends, so that an item does not die of a broken pipe if its keeper does.
  const outputs = [stdout, stderr].map((path) => openSync(path, constants.O_RDWR))
  try {
    const child = withScore(oomScore, () => spawn(file, command.slice(1), { argv0: command[0] ?? '', cwd: workdir, env, detached: true, stdio: ['ignore', ...outputs] }))
    const failed = once(child, 'error').then(([error]) => error as unknown)
    if (child.pid === undefined) throw explainSpawnError(await failed, file, null)
    child.once('exit', (code, signal) => say({ item, exitCode: code ?? 128 + system.signals[signal as NodeJS.Signals] }))
    return child
  } catch (error) {
    throw error instanceof StartFailure ? error : explainSpawnError(error, file, null)
  } finally {
    for (const output of outputs) closeSync(output)
  }
}

const SCORE_FILE = '/proc/self/oom_score_adj'

/** What is started meanwhile has it from its beginning on, and so has all that it starts. */
function withScore<T>(score: number | null, work: () => T): T {
  if (score === null) return work()
  const before = readFileSync(SCORE_FILE, 'utf8').trim()
  try {
    setScore(String(score))
    return work()
  } finally {
    setScore(before)
  }
}

function setScore(score: string): void {
  try {
    writeFileSync(SCORE_FILE, score)
  } catch (error) {
    // Then the items go with the agent's own: which of them was ended is not known then.
    console.error(errorMessage(error))
  }
}

function say(event: AgentEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}
