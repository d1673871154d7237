import type { ContainerDetails } from '#core/engine/engine.ts'
import { processAgeMs, readCgroups, readStatus } from '../../linux/proc.ts'

/** How long something in a container has been running. By the kernel's own count where this machine sees the process; else by the clock of the day. */
export function runningMs({ id, pid, started }: Pick<ContainerDetails, 'id' | 'pid' | 'started'>): number {
  const status = pid > 0 ? readStatus(pid) : undefined
  // In an Engine on another machine the number is another process's.
  if (status && readCgroups(pid).some((cgroup) => cgroup.includes(id))) return processAgeMs(status)
  return started === null ? 0 : Math.max(0, Date.now() - Date.parse(started))
}
