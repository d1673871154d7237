import { setTimeout } from 'node:timers/promises'
import type { ContainerDetails } from '#core/engine/engine.ts'
import type { KernelLog, OomKill } from '../../hardware/kernel-log.ts'
import { KILLED } from '../executor.ts'
import { isOfItem, isOfOneItem, type OomMark } from '../pack/oom-marks.ts'

/** Tells executions that were ended for want of memory from others. */
export interface OutOfMemory {
  /**
   * Whether something in the container was.
   *
   * The Engine's own flag is not to be leaned on: where many things happen at once it is late, or lost for good when the container ends with
   * the process that was killed. The kernel's log is certain where it may be read.
   *
   * @param inspect asks the Engine again
   */
  happened(container: EndedContainer, inspect: () => Promise<ContainerDetails | undefined>): Promise<boolean>
  /** The same for one of those that share a container: what the kernel ended may have been another's. */
  happenedToItem(item: EndedItem): 'yes' | 'no' | 'unknown'
  /** How far the kernel's log has come. */
  position(): number
}

export interface EndedContainer extends Pick<ContainerDetails, 'id' | 'outOfMemory'> {
  exitCode: number
  memoryBytes: number | null
  /** ISO 8601, by the Engine; `null`: not known. */
  finished: string | null
}

export interface EndedItem extends Pick<EndedContainer, 'id' | 'outOfMemory'> {
  /** Of its main process. */
  pid: number
  mark: OomMark
}

export function createOutOfMemory({ log, closing }: { log: KernelLog | undefined; closing: AbortSignal }): OutOfMemory {
  /** Kills of unknown containers whose container was found. */
  const attributed = new WeakSet<OomKill>()

  function wasKilled(container: EndedContainer, kills: readonly OomKill[]): boolean {
    if (kills.some(({ cgroup }) => cgroup?.includes(container.id))) return true
    const kill = kills.findLast((candidate) => !attributed.has(candidate) && mayBeOf(candidate, container))
    if (kill) attributed.add(kill)
    return kill !== undefined
  }

  return {
    async happened(container, inspect) {
      const wasSeen = log !== undefined && wasKilled(container, log.readKills())
      if (log || container.outOfMemory) return wasSeen || container.outOfMemory
      if (container.exitCode !== KILLED && container.memoryBytes === null) return false
      for (let waited = 0; waited < FLAG_PATIENCE_MS; waited += FLAG_POLL_MS) {
        await setTimeout(FLAG_POLL_MS, undefined, { signal: closing })
        if ((await inspect())?.outOfMemory) return true
      }
      return false
    },

    happenedToItem({ id, pid, outOfMemory, mark: { score, after } }) {
      if (!log) return outOfMemory ? 'unknown' : 'no'
      const kills = log.readKills().filter((kill) => kill.sequence > after)
      const own = kills.filter(({ cgroup }) => cgroup?.includes(id))
      if (own.some((kill) => kill.pid === pid || (isOfOneItem(kill.score) && kill.score === score))) return 'yes'
      const isUnclear = own.some((kill) => !isOfItem(kill.score) || kill.score === score) || kills.some((kill) => kill.cgroup === undefined && isOfItem(score) && kill.score === score)
      return isUnclear ? 'unknown' : 'no'
    },

    position: () => log?.readPosition() ?? 0,
  }
}

// --- internal ---

const FLAG_PATIENCE_MS = 600
const FLAG_POLL_MS = 100
/** Between the kill and the end of the container, by the clocks of the kernel's log and of the Engine. */
const APART_MS = 2000
/** What is ended is the largest process of those that have hit the limit together. */
const LEAST_PART = 2

/** The kernel names at most ten within five seconds: of the others it tells only how large they were. */
function mayBeOf({ cgroup, isLimit, rssBytes, time }: OomKill, { memoryBytes, finished }: EndedContainer): boolean {
  if (cgroup !== undefined || !isLimit || rssBytes === undefined || memoryBytes === null || finished === null) return false
  if (rssBytes > memoryBytes || rssBytes < memoryBytes / LEAST_PART) return false
  const killed = Date.now() - (monotonicMs() - time)
  return Math.abs(Date.parse(finished) - killed) < APART_MS
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
