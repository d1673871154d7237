import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { HakuError } from '#core/errors.ts'
import type { ProcessPaths } from '#core/paths.ts'
import { claim, type EndedProcess, FORMAT, readJson, type StartedProcess } from '../keeping/files.ts'
import { SMALL_NODE } from '../keeping/small-node.ts'
import { identify, isAlive, type ProcessId, readBootId } from '../linux/proc.ts'
import { watchDirectory } from '../linux/watch.ts'

/** What is known of an execution from its files. */
export interface Known {
  /** The last supervisor; `undefined`: there was none yet, so the process was never started. */
  supervisor: ProcessId | undefined
  generation: number
  started: StartedProcess | undefined
  ended: EndedProcess | undefined
}

/** @returns `undefined`: there is no such execution (any more) */
export function readKnown(paths: ProcessPaths): Known | undefined {
  if (!existsSync(paths.order)) return undefined
  let generation = 0
  let supervisor: ProcessId | undefined
  for (let next; (next = readJson<ProcessId>(paths.claim(generation + 1))) !== undefined; generation++) supervisor = next
  return { supervisor, generation, started: readJson(paths.started), ended: readJson(paths.ended) }
}

/** The machine was started again since, so nothing of it can run any more. */
export function wasRebooted({ supervisor }: Known): boolean {
  return supervisor !== undefined && supervisor.bootId !== readBootId()
}

/** Nobody writes what it prints any more. */
export function isOver(paths: ProcessPaths): boolean {
  const known = readKnown(paths)
  return !known || known.ended !== undefined || wasRebooted(known)
}

export interface SuperviseOptions {
  /** File of the supervisor. */
  program: string
  signal: AbortSignal
  /** Called with each look, about once a second. */
  onLook?: () => Promise<void>
}

/**
 * Waits until `check` holds, and sees to it that somebody supervises the process meanwhile. Resolves to what is known then; to `undefined` if
 * the execution was removed.
 *
 * @throws `internal.error`: no supervisor can be started, and none will be
 */
export async function supervise(paths: ProcessPaths, check: (known: Known) => boolean, { program, signal, onLook }: SuperviseOptions): Promise<Known | undefined> {
  const watch = watchDirectory(paths.directory, [basename(paths.started), basename(paths.ended)])
  const launches = createLaunches(paths, program)
  try {
    for (;;) {
      const known = readKnown(paths)
      if (!known || known.ended || wasRebooted(known) || check(known)) return known
      if (!known.supervisor || !isAlive(known.supervisor)) launches.next(known)
      await onLook?.()
      await watch.next(signal)
    }
  } finally {
    watch.close()
  }
}

// --- internal ---

/** A process that was not started is given up after so many. One that runs is never left alone. */
const MAX_LAUNCHES = 5
const LOG_TAIL_CHARACTERS = 500

/** Starts supervisors, one at a time. That of two only one takes the execution is their own affair. */
function createLaunches(paths: ProcessPaths, program: string) {
  let last: { child: ChildProcess; generation: number } | undefined
  let count = 0

  function next({ generation }: Known): void {
    // It has not come to its claim yet, or ended a moment ago.
    if (last && last.generation > generation && isRunning(last.child)) return
    // It has: whatever it wrote, a second look shows it.
    if (generation > 0 && readJson(paths.ended) !== undefined) return
    if (generation === 0 && count === MAX_LAUNCHES) giveUp()
    count++
    last = { generation: generation + 1, child: launch(paths, generation + 1, program) }
  }

  /** Not even one that comes late may start the process after this. */
  function giveUp(): void {
    if (!claim(paths.claim(1), { ...identify(process.pid), format: FORMAT })) return
    const log = existsSync(paths.log) ? readFileSync(paths.log, 'utf8').trim().slice(-LOG_TAIL_CHARACTERS) : ''
    throw new HakuError('internal.error', `The supervisor of the process can not be started on this node${log === '' ? '' : `: ${log}`}. Is there memory left, and is HakuRiver installed completely?`)
  }

  return { next }
}

function isRunning({ exitCode, signalCode, pid }: ChildProcess): boolean {
  return pid !== undefined && exitCode === null && signalCode === null
}

/** In a session of its own, and with nothing of ours: neither what we know nor where we write. */
function launch(paths: ProcessPaths, generation: number, program: string): ChildProcess {
  const log = openSync(paths.log, 'a', 0o600)
  try {
    const child = spawn(process.execPath, [...SMALL_NODE, program, paths.directory, String(generation)], { cwd: '/', env: ENVIRONMENT, detached: true, stdio: ['ignore', 'ignore', log] })
    // It shows as a child that does not run.
    child.on('error', () => undefined)
    child.unref()
    return child
  } finally {
    closeSync(log)
  }
}

/** There is one supervisor for each process. */
const ENVIRONMENT = { UV_THREADPOOL_SIZE: '1' }
