import { readFileSync } from 'node:fs'

/** Memory of a process in MB: what it has now (`VmRSS`) or the most it ever had (`VmHWM`), see proc(5). */
export function processMegabytes(pid: number, which: 'VmRSS' | 'VmHWM'): number {
  const [, kibibytes = 'NaN'] = new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return (Number(kibibytes) * 1024) / 1e6
}

/** Bytes that a process has read so far, whatever from (`rchar`). */
export function processBytesRead(pid: number): number {
  const [, bytes = 'NaN'] = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8')) ?? []
  return Number(bytes)
}
