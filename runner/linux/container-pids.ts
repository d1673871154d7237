import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readPids } from './cgroup-files.ts'
import { listPids, readCgroups } from './proc.ts'

/** All processes of a container, as this machine counts; none if it has ended, or is not to be seen from here. */
export function containerPids(containerId: string): number[] {
  const known = directories.get(containerId)
  const directory = known ?? findCgroup(containerId)
  if (directory === undefined) return []
  directories.set(containerId, directory)
  const pids = readPids(directory)
  if (pids.length === 0) directories.delete(containerId)
  return pids
}

// --- internal ---

const CGROUPS = '/sys/fs/cgroup'
/** Where the cgroup of each container is. */
const directories = new Map<string, string>()

/** Whatever driver made it: by the cgroups that its own processes name. */
function findCgroup(containerId: string): string | undefined {
  for (const pid of listPids()) {
    const found = readCgroups(pid).filter((line) => line.includes(containerId)).flatMap(directoriesOf).find((directory) => existsSync(join(directory, 'cgroup.procs')))
    if (found !== undefined) return found
  }
  return undefined
}

function directoriesOf(line: string): string[] {
  const { controllers, path } = /^\d+:(?<controllers>[^:=]*):(?<path>.*)$/.exec(line)?.groups ?? {}
  return controllers === undefined || path === undefined ? [] : [join(CGROUPS, controllers, path)]
}
