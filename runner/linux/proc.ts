import { readdirSync, readFileSync } from 'node:fs'
import { systemErrorCode } from '#core/errors.ts'

/** One process for ever: its number is used again after its end, but not with the same start. */
export interface ProcessId {
  pid: number
  /** In ticks since the machine started. */
  startTime: number
  /** Changes when the machine starts. */
  bootId: string
}

export interface ProcessStatus {
  pid: number
  parent: number
  session: number
  startTime: number
  /** Its end has only not been asked for yet. */
  isZombie: boolean
  /** By a signal. */
  isStopped: boolean
  /** For the kernel, such as for a child that was stopped before it had begun: no signal reaches it meanwhile. */
  isWaiting: boolean
}

/** What /proc says of a process; `undefined`: there is none. */
export function readStatus(pid: number): ProcessStatus | undefined {
  const text = readProc(`${pid}/stat`)
  // The name stands in parentheses, and may hold anything, parentheses included.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  if (!fields || fields.length < 20) return undefined
  const number = (index: number) => Number(fields[index])
  return { pid, parent: number(1), session: number(3), startTime: number(19), isZombie: fields[0] === 'Z' || fields[0] === 'X', isStopped: fields[0] === 'T', isWaiting: fields[0] === 'D' }
}

/** @returns `undefined` if there is no such process */
export function identify(pid: number): ProcessId | undefined {
  const status = readStatus(pid)
  return status && { pid, startTime: status.startTime, bootId: readBootId() }
}

/** Whether this very process runs. */
export function isAlive({ pid, startTime, bootId }: ProcessId): boolean {
  const status = readStatus(pid)
  return status !== undefined && status.startTime === startTime && !status.isZombie && bootId === readBootId()
}

export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

/** The number of every process that this user may see. */
export function listPids(): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number)
}

export function listProcesses(): ProcessStatus[] {
  return listPids().flatMap((pid) => readStatus(pid) ?? [])
}

/** Milliseconds since a process started, by the kernel's own count: nobody sets that clock. */
export function processAgeMs({ startTime }: Pick<ProcessId, 'startTime'>): number {
  const uptimeSeconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return Math.max(0, uptimeSeconds * 1000 - (startTime * 1000) / TICKS_PER_SECOND)
}

/** The cgroups that a process is in, a line each; none if it is gone. */
export function readCgroups(pid: number): string[] {
  return readProc(`${pid}/cgroup`)?.split('\n').filter(Boolean) ?? []
}

/** The variables that a process was started with, as `NAME=value`; none if it is gone or not ours to look into. */
export function readEnvironment(pid: number): string[] {
  return readProc(`${pid}/environ`)?.split('\0') ?? []
}

/** The command line; none if it is gone. */
export function readCommand(pid: number): string[] {
  return readProc(`${pid}/cmdline`)?.split('\0').slice(0, -1) ?? []
}

/** Its number in the innermost container that it is in; `undefined`: it is gone. */
export function innerPid(pid: number): number | undefined {
  const numbers = /^NSpid:\s*(?<numbers>.*)$/m.exec(readProc(`${pid}/status`) ?? '')?.groups?.['numbers']?.trim().split(/\s+/)
  return numbers === undefined ? undefined : Number(numbers.at(-1))
}

/** Sends a signal. One that has ended is as good; one that is not ours to end is found by whoever counts what is left. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    const code = systemErrorCode(error)
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

// --- internal ---

/** What the kernel counts for programs: it is the same on all architectures. */
const TICKS_PER_SECOND = 100

function readProc(name: string): string | undefined {
  try {
    return readFileSync(`/proc/${name}`, 'utf8')
  } catch {
    // It ended, or belongs to somebody else: both are none of ours.
    return undefined
  }
}
