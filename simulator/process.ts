import { readFileSync } from 'node:fs'

/** Memory of a process in MB: what it has now (`VmRSS`) or the most it ever had (`VmHWM`), see proc(5). */
export function processMegabytes(pid: number, which: 'VmRSS' | 'VmHWM'): number {
  const [, kibibytes = 'NaN'] = new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return (Number(kibibytes) * 1024) / 1e6
}

/** A hundred a second, on every Linux that Node runs on. */
const TICK_SECONDS = 0.01

/** CPU time that a process has used so far, in its own code and in the kernel. */
export function processCpuSeconds(pid: number): number {
  // Behind the name, which may hold anything: state is field 3, utime 14, stime 15.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(')').at(-1)?.trim().split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * TICK_SECONDS
}
