import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'
import { sendSignal } from './proc.ts'

/** The files of a cgroup, as both versions have them. */

/** Until all of a large tree have come to rest. */
export const FREEZE_PATIENCE_MS = 2000

export function write(directory: string, file: string, value: string | number): void {
  const path = join(directory, file)
  try {
    writeFileSync(path, String(value))
  } catch (error) {
    throw new HakuError('internal.error', `The kernel does not take ${JSON.stringify(String(value))} in ${path}: ${errorMessage(error)}.`, { cause: error })
  }
}

/** @returns `undefined`: there is no such file or cgroup (any more) */
export function read(directory: string, file: string): string | undefined {
  try {
    return readFileSync(join(directory, file), 'utf8').trim()
  } catch (error) {
    const code = systemErrorCode(error)
    // ENODEV: the cgroup was removed between opening and reading.
    if (code === 'ENOENT' || code === 'ENODEV') return undefined
    throw error
  }
}

/** A number of a file with lines such as `oom_kill 3`. */
export function readCounter(directory: string, file: string, name: string): number | null {
  const line = read(directory, file)?.split('\n').find((text) => text.startsWith(`${name} `))
  return line === undefined ? null : Number(line.slice(name.length + 1))
}

/** The processes in a cgroup and in those that they have made below it. */
export function readPids(directory: string): number[] {
  const own = read(directory, 'cgroup.procs')?.split('\n').filter(Boolean).map(Number) ?? []
  return [...own, ...children(directory).flatMap(readPids)]
}

export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) sendSignal(pid, signal)
}

/** Repeats `killOnce` until nobody is left. Resolves to how many are, after so long. */
export async function killUntilEmpty(directory: string, killOnce: () => Promise<void>, patienceMs: number): Promise<number> {
  const left = () => readPids(directory).length
  const deadline = performance.now() + patienceMs
  while (left() > 0 && performance.now() < deadline) {
    await killOnce()
    await until(() => left() === 0, KILL_PAUSE_MS)
  }
  return left()
}

/** The kernel takes a moment to let go of processes that have ended. @throws `internal.error` */
export async function removeTree(directory: string): Promise<void> {
  for (const child of children(directory)) await removeTree(child)
  for (let attempt = 0; ; attempt++) {
    try {
      return rmdirSync(directory)
    } catch (error) {
      const code = systemErrorCode(error)
      if (code === 'ENOENT') return
      if (code !== 'EBUSY' || attempt === REMOVE_TRIES) throw new HakuError('internal.error', `The cgroup ${directory} can not be removed: ${errorMessage(error)}.`, { cause: error })
    }
    await setTimeout(REMOVE_PAUSE_MS)
  }
}

/** Looks again until `check` holds or the patience is over. */
export async function until(check: () => boolean, patienceMs: number): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  for (let pause = 1; !check(); pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
    if (performance.now() >= deadline) return false
    await setTimeout(pause)
  }
  return true
}

// --- internal ---

const REMOVE_TRIES = 100
const REMOVE_PAUSE_MS = 20
const MAX_PAUSE_MS = 50
const KILL_PAUSE_MS = 200

function children(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [join(directory, entry.name)] : []))
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return []
    throw error
  }
}
