import { closeSync, constants, openSync, readSync } from 'node:fs'
import { systemErrorCode } from '#core/errors.ts'

/** A process that the kernel ended for want of memory. */
export interface OomKill {
  pid: number
  /** Path of its memory cgroup; `undefined`: the kernel leaves it out when there are many within some seconds. */
  cgroup: string | undefined
  /** Its limit, and not the memory of the whole machine, was reached. */
  isLimit: boolean
  /** What it held of its own, if that was told: programs and libraries are others' too. */
  rssBytes: number | undefined
  /** Its `oom_score_adj`; `undefined`: kernels before 5.4 do not tell. */
  score: number | undefined
  /** Milliseconds of the monotonic clock. */
  time: number
  /** Number of its record in the log. */
  sequence: number
}

/** What the kernel has told. Needs a Runner that may read it: root, or `kernel.dmesg_restrict = 0`. */
export interface KernelLog {
  /** The latest kills, oldest first. Looks whether there are new ones: that takes microseconds. */
  readKills(): readonly OomKill[]
  /** Number of the latest record. Takes as long. */
  readPosition(): number
  close(): void
}

const FILE = '/dev/kmsg'
const RECORD_BYTES = 8192
const MAX_KILLS = 1000

/** `undefined`: it may not be read here. */
export function openKernelLog(file = FILE): KernelLog | undefined {
  let descriptor: number
  try {
    // A blocking read would keep a thread of Node for ever.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    // Kept from us, or not there: whoever asks does without.
    return undefined
  }
  const buffer = Buffer.alloc(RECORD_BYTES)
  const parser = createKillParser()
  const catchUp = () => {
    for (let record = readRecord(descriptor, buffer); record !== undefined; record = readRecord(descriptor, buffer)) parser.push(record)
    return parser
  }
  return {
    readKills: () => catchUp().kills,
    readPosition: () => catchUp().position,
    close: () => closeSync(descriptor),
  }
}

/** Takes records of `/dev/kmsg`, `priority,sequence,microseconds,flags;text`, one by one. */
export function createKillParser(): { readonly kills: readonly OomKill[]; readonly position: number; push(record: string): void } {
  const kills: OomKill[] = []
  let sequence = 0
  return {
    kills,
    get position() {
      return sequence
    },
    push(record) {
      const [, number, microseconds] = record.split(',', 3)
      sequence = Number(number)
      const time = Number(microseconds) / 1000
      const where = WHERE_RE.exec(record)?.groups
      const killed = KILLED_RE.exec(record)?.groups
      if (where) kills.push({ pid: Number(where['pid']), cgroup: where['cgroup'] ?? '', isLimit: where['constraint'] === 'CONSTRAINT_MEMCG', rssBytes: undefined, score: undefined, time, sequence })
      if (!killed) return
      const pid = Number(killed['pid'])
      const rssBytes = (Number(killed['anon']) + Number(killed['shared'])) * 1024
      // Both lines are of the same kill, and others may be between them.
      const told = kills.findLast((kill) => kill.pid === pid && kill.rssBytes === undefined)
      const score = killed['score'] === undefined ? undefined : Number(killed['score'])
      if (told) Object.assign(told, { rssBytes, score })
      else kills.push({ pid, cgroup: undefined, isLimit: killed['limit'] !== undefined, rssBytes, score, time, sequence })
      if (kills.length > MAX_KILLS) kills.shift()
    },
  }
}

// --- internal ---

const WHERE_RE = /oom-kill:constraint=(?<constraint>\w+),.*task_memcg=(?<cgroup>[^,\n]*),task=.*,pid=(?<pid>\d+),/
const KILLED_RE = /(?<limit>Memory cgroup )?[oO]ut of memory(?: \(oom_kill_allocating_task\))?: Killed process (?<pid>\d+) .*anon-rss:(?<anon>\d+)kB, file-rss:\d+kB, shmem-rss:(?<shared>\d+)kB(?:.* oom_score_adj:(?<score>-?\d+))?/

/** `undefined`: there is no more for now. */
function readRecord(descriptor: number, buffer: Buffer): string | undefined {
  for (;;) {
    try {
      const length = readSync(descriptor, buffer, 0, buffer.length, null)
      return length === 0 ? undefined : buffer.toString('utf8', 0, length)
    } catch (error) {
      // EPIPE: what would have been next was overwritten, and the one after it comes.
      if (systemErrorCode(error) !== 'EPIPE') return undefined
    }
  }
}
