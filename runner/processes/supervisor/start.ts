import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { statSync, writeFileSync } from 'node:fs'
import { errorMessage } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { type EndedProcess, FORMAT, readJson, type StartedProcess, writeJson } from '../../keeping/files.ts'
import { explainSpawnError, findProgram, StartFailure } from '../../linux/command.ts'
import { identify, isAlive, type ProcessId } from '../../linux/proc.ts'
import type { ProcessOrder } from '../order.ts'
import { enterScope, leaveScope, openScope } from '../scope/scope.ts'
import type { OutputKeeper } from './output.ts'

export type Ending = Pick<EndedProcess, 'exitCode' | 'note'>

/** The process that is supervised. */
export interface Supervised {
  /** `undefined`: there is none. */
  id: ProcessId | undefined
  /** Never rejects. */
  ended: Promise<Ending>
}

/** Starts the process: in its scope from its first instruction on, in a session of its own. @throws {@link StartFailure} */
export async function startProcess(paths: ProcessPaths, order: ProcessOrder, { writers }: OutputKeeper): Promise<Supervised> {
  assertDirectory(order.workdir)
  const file = findProgram(order)
  const child = spawnInScope(order, file, writers)
  const failed = once(child, 'error').then(([error]) => error as unknown)
  if (child.pid === undefined) throw explainSpawnError(await failed, file, order.user)
  const ended = once(child, 'exit').then(([code, signal]) => ({ exitCode: (code as number | null) ?? 128 + constants.signals[signal as NodeJS.Signals], note: null }))
  // It can not be gone yet: nobody but us can take note of its end.
  const id = identify(child.pid)
  if (id) writeJson(paths.started, { ...id, format: FORMAT, started: new Date().toISOString() } satisfies StartedProcess)
  return { id, ended }
}

/** Takes over a process whose supervisor is gone. It is nobody's child any more, so its exit code is lost. */
export function adoptProcess(paths: ProcessPaths, order: ProcessOrder): Supervised {
  const id: ProcessId | undefined = readJson<StartedProcess>(paths.started) ?? findUnnoted(order)
  const note = id ? 'Its supervisor on the node was ended from outside, so nobody knows its exit code.' : 'The supervisor of the process was ended from outside while it started the process.'
  return { id, ended: untilGone(id).then(() => ({ exitCode: null, note })) }
}

// --- internal ---

const LOOK_MS = 200
/** When memory runs out, the kernel looks for others first. */
const OOM_SCORE = '-500'

function assertDirectory(workdir: string): void {
  const problem = (() => {
    try {
      return statSync(workdir).isDirectory() ? undefined : 'is not a directory'
    } catch (error) {
      return `can not be used: ${errorMessage(error)}`
    }
  })()
  if (problem !== undefined) throw new StartFailure('start_failed', `The working directory ${workdir} ${problem}. Create it on the node, or choose another with --workdir.`)
}

function spawnInScope({ scope, command: [name = '', ...parameters], workdir, env, user }: ProcessOrder, file: string, writers: OutputKeeper['writers']) {
  try {
    enterScope(scope)
  } catch (error) {
    throw new StartFailure('start_failed', errorMessage(error))
  }
  try {
    return spawn(file, parameters, { argv0: name, cwd: workdir, env, detached: true, stdio: ['ignore', writers.stdout, writers.stderr], ...user })
  } catch (error) {
    throw explainSpawnError(error, file, user)
  } finally {
    leaveScope(scope)
    protectSelf()
  }
}

function protectSelf(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', OOM_SCORE)
  } catch {
    // Only root may ask for this.
  }
}

/** The supervisor may have ended between the start of the process and its note of it. */
function findUnnoted({ scope }: ProcessOrder): ProcessId | undefined {
  const candidates = openScope(scope, undefined).pids().flatMap((pid) => identify(pid) ?? [])
  return candidates.toSorted((a, b) => a.startTime - b.startTime)[0]
}

async function untilGone(id: ProcessId | undefined): Promise<void> {
  if (!id || !isAlive(id)) return
  await new Promise<void>((resolve) => {
    const looking = setInterval(() => {
      if (isAlive(id)) return
      clearInterval(looking)
      resolve()
    }, LOOK_MS)
  })
}
