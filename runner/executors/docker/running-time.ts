import { readFile } from 'node:fs/promises'
import type { ContainerDetails } from '#core/engine/engine.ts'

/** How long something in a container has been running. By the kernel's own count where this machine sees the process; else by the clock of the day. */
export async function runningMs({ id, pid, started }: Pick<ContainerDetails, 'id' | 'pid' | 'started'>): Promise<number> {
  const counted = pid > 0 ? await processAgeMs(pid, id) : undefined
  return counted ?? (started === null ? 0 : Math.max(0, Date.now() - Date.parse(started)))
}

// --- internal ---

/** What the kernel counts for programs: it is the same on all architectures that Docker runs on. */
const TICKS_PER_SECOND = 100
/** `starttime` of proc(5), counted from behind the name, which may have spaces and brackets. */
const START_FIELD = 19

/** `undefined` if the process is not one of the container, as in an Engine on another machine. */
async function processAgeMs(pid: number, containerId: string): Promise<number | undefined> {
  try {
    const [stat, cgroup, uptime] = await Promise.all(['stat', 'cgroup'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')).concat(readFile('/proc/uptime', 'utf8')))
    if (!cgroup?.includes(containerId)) return undefined
    const start = Number(stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[START_FIELD])
    const age = Number(uptime?.split(' ')[0]) * 1000 - (start * 1000) / TICKS_PER_SECOND
    return Number.isFinite(age) ? Math.max(0, age) : undefined
  } catch {
    // It has ended, or there is no such process here.
    return undefined
  }
}
