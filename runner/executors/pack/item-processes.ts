import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readPids } from '../../processes/scope/cgroup-files.ts'
import { innerPid, type ProcessStatus, readEnvironment, readStatus } from '../../processes/proc.ts'

/** Which of the processes in a container are those of one item: what its main process has started, and what has that in its environment. */
export function itemProcesses(containerId: string, { pid: main, id }: { pid: number; id: string }): ProcessStatus[] {
  const living = containerPids(containerId).flatMap((pid) => readStatus(pid) ?? []).filter(({ isZombie }) => !isZombie)
  const mark = `HAKURIVER_TASK_ID=${id}`
  const members = new Set(living.filter(({ pid, session }) => (main > 0 && session === main) || pid === main || readEnvironment(pid).includes(mark)).map(({ pid }) => pid))
  for (let size = -1; size !== members.size; ) {
    size = members.size
    for (const { pid, parent } of living) if (members.has(parent)) members.add(pid)
  }
  return living.filter(({ pid }) => members.has(pid))
}

/** A process of a container as this machine counts; `undefined`: it has ended, or is not to be seen from here. */
export function outerPid(containerId: string, inner: number): number | undefined {
  return containerPids(containerId).find((pid) => innerPid(pid) === inner)
}

// --- internal ---

const CGROUPS = '/sys/fs/cgroup'
/** Where the cgroup of each container is. */
const directories = new Map<string, string>()

function containerPids(containerId: string): number[] {
  const known = directories.get(containerId)
  const directory = known ?? findCgroup(containerId)
  if (directory === undefined) return []
  directories.set(containerId, directory)
  const pids = readPids(directory)
  if (pids.length === 0) directories.delete(containerId)
  return pids
}

/** Whatever driver made it: by the cgroups that its own processes name. */
function findCgroup(containerId: string): string | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const found = readCgroups(pid).filter((line) => line.includes(containerId)).flatMap(directoriesOf).find((directory) => existsSync(join(directory, 'cgroup.procs')))
    if (found !== undefined) return found
  }
  return undefined
}

function directoriesOf(line: string): string[] {
  const { controllers, path } = /^\d+:(?<controllers>[^:=]*):(?<path>.*)$/.exec(line)?.groups ?? {}
  return controllers === undefined || path === undefined ? [] : [join(CGROUPS, controllers, path)]
}

function readCgroups(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n')
  } catch {
    // It has ended.
    return []
  }
}
