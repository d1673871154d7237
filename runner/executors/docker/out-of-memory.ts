import { setTimeout } from 'node:timers/promises'
import type { ContainerDetails } from '#core/engine/engine.ts'
import type { KernelLog, OomKill } from '../../hardware/kernel-log.ts'
import { KILLED } from '../executor.ts'

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
  happenedToItem(item: EndedItem): boolean
}

export interface EndedContainer extends Pick<ContainerDetails, 'id' | 'outOfMemory'> {
  exitCode: number
  memoryBytes: number | null
  /** ISO 8601, by the Engine; `null`: not known. */
  finished: string | null
}

export interface EndedItem extends Omit<EndedContainer, 'finished'> {
  /** Of its main process; the memory is that of all items in the container. */
  pid: number
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

    happenedToItem({ id, pid, exitCode, outOfMemory }) {
      if (!log) return outOfMemory && exitCode === KILLED
      const kills = log.readKills().filter(({ cgroup }) => cgroup?.includes(id))
      // A child of an item has another number; that it was one of this item's is only likely.
      return kills.some((kill) => kill.pid === pid || kill.time > monotonicMs() - ITEM_RECENT_MS)
    },
  }
}

// --- internal ---

const FLAG_PATIENCE_MS = 600
const FLAG_POLL_MS = 100
/** Between the kill and the end of the container, by the clocks of the kernel's log and of the Engine. */
const APART_MS = 2000
/** Between the kill and the moment in which the Runner looks. */
const ITEM_RECENT_MS = 1000
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
