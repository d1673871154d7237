import { execFileSync } from 'node:child_process'
import { readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { readIfThere } from '../../build/files.mjs'
import { type Bridge, removeBridge } from './bridges.ts'

/** All directories of test Engines begin with it. */
export const DIRECTORY_PREFIX = 'hre-'

/** Notes in an Engine's directory which process it belongs to, and its bridge. */
export function writeOwner(directory: string, bridge: Bridge): void {
  const owner: Owner = { pid: process.pid, started: startTime(process.pid), bridge }
  writeFileSync(join(directory, 'owner.json'), JSON.stringify(owner))
}

/**
 * Removes all that an Engine may have left: processes, mounts, control groups, bridge, directory. Synchronous: it also runs at the
 * end of a process. Idempotent.
 */
export function removeLeftovers(directory: string): void {
  const owner = readOwner(directory)
  endProcesses(directory)
  unmountBelow(directory)
  removeControlGroups(directory)
  if (owner) removeBridge(owner.bridge)
  rmSync(directory, { recursive: true, force: true })
}

/** Removes the Engines of processes that were killed before they could. */
export function removeAbandoned(): void {
  for (const parent of new Set([tmpdir(), '/tmp'])) {
    for (const name of readdirSync(parent).filter((entry) => entry.startsWith(DIRECTORY_PREFIX))) {
      const owner = readOwner(join(parent, name))
      if (owner && startTime(owner.pid) !== owner.started) removeLeftovers(join(parent, name))
    }
  }
}

// --- internal ---

interface Owner {
  pid: number
  /** As in `/proc/<pid>/stat`: tells a process from a later one of the same number. */
  started: string
  bridge: Bridge
}

const PROGRAMS_RE = /^(?:dockerd|containerd|containerd-shim.*|docker-proxy|docker-init|runc|exe)$/
const END_DEADLINE_MS = 10_000

function readOwner(directory: string): Owner | undefined {
  const text = readIfThere(join(directory, 'owner.json'))
  return text ? (JSON.parse(text) as Owner) : undefined
}

/** Daemon, shims, and what runs below the shims: containers outlive their daemon. */
function endProcesses(directory: string): void {
  const deadline = Date.now() + END_DEADLINE_MS
  for (let pids = findProcesses(directory); pids.length > 0; pids = findProcesses(directory)) {
    if (Date.now() > deadline) throw new Error(`processes of the test Engine in ${directory} do not end: ${pids.join(', ')}`)
    for (const pid of pids) tryTo(() => process.kill(pid, 'SIGKILL'))
    // The end of a killed process is nothing that a synchronous function can be told of.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
  }
}

function findProcesses(directory: string): number[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).map((pid) => ({ pid, ...readStat(pid) })).filter(({ state }) => state && state !== 'Z')
  const isOwn = (pid: number) => {
    const [program = '', ...parameters] = readIfThere(`/proc/${pid}/cmdline`).split('\0')
    return PROGRAMS_RE.test(basename(program)) && parameters.some((word) => word.includes(`${directory}/`))
  }
  const found = new Set(processes.filter(({ pid }) => isOwn(pid)).map(({ pid }) => pid))
  for (let size = 0; size !== found.size;) {
    size = found.size
    for (const { pid, parent } of processes) if (found.has(parent)) found.add(pid)
  }
  return [...found]
}

function readStat(pid: number): { state: string; parent: number } {
  // The name of the program stands in brackets and may hold anything, brackets too.
  const [state = '', parent = '0'] = readIfThere(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? []
  return { state, parent: Number(parent) }
}

/** Empty if there is no such process. */
function startTime(pid: number): string {
  return readIfThere(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? ''
}

function unmountBelow(directory: string): void {
  const mounts = readIfThere('/proc/self/mounts').split('\n').map((line) => line.split(' ')[1] ?? '').filter((path) => path.startsWith(`${directory}/`))
  for (const path of mounts.toReversed()) tryTo(() => execFileSync('umount', ['-l', path], { stdio: 'ignore' }))
}

/** A container that was killed with its shim leaves its control groups. */
function removeControlGroups(directory: string): void {
  const containers = list(join(directory, 'data', 'containers'))
  const roots = ['/sys/fs/cgroup', ...list('/sys/fs/cgroup').map((name) => join('/sys/fs/cgroup', name))]
  for (const root of roots) for (const id of containers) tryTo(() => rmdirSync(join(root, 'docker', id)))
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/** For what may be gone already. What stays in spite of it makes the removal of the directory fail. */
function tryTo(action: () => unknown): void {
  try {
    action()
  } catch {
    // Gone already.
  }
}
