import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, totalmem } from 'node:os'
import type { HeartbeatBody, NodeHardware } from '#core/api/schemas.ts'
import { readGpus } from './gpus.ts'
import { readNumaNodes } from './numa.ts'

export type Usage = HeartbeatBody['usage']

/** What this node has to give. */
export async function readHardware({ plainProcesses }: Pick<NodeHardware, 'plainProcesses'>): Promise<NodeHardware> {
  return { cores: availableParallelism(), memoryBytes: totalmem(), numaNodes: readNumaNodes(), gpus: await readGpus(), plainProcesses }
}

/** @returns a function that tells the use of CPU since its last call (since now, at the first), and of memory at present */
export function createUsageMeter(): () => Usage {
  let last = readTicks()
  return () => {
    const now = readTicks()
    const total = now.total - last.total
    const cpuPercent = total > 0 ? Math.round((1000 * (total - (now.idle - last.idle))) / total) / 10 : null
    last = now
    return { cpuPercent, memoryUsedBytes: readMemoryUsed() }
  }
}

/** Bytes that programs could get without swapping, from the text of /proc/meminfo; `undefined` if it does not say. */
export function parseMemoryAvailable(meminfo: string): number | undefined {
  const kibibytes = /^MemAvailable:\s+(?<amount>\d+) kB$/m.exec(meminfo)?.groups?.['amount']
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024
}

// --- internal ---

function readTicks(): { idle: number; total: number } {
  let idle = 0
  let total = 0
  for (const { times } of cpus()) {
    idle += times.idle
    total += times.user + times.nice + times.sys + times.idle + times.irq
  }
  return { idle, total }
}

function readMemoryUsed(): number | null {
  try {
    const available = parseMemoryAvailable(readFileSync('/proc/meminfo', 'utf8'))
    return available === undefined ? null : Math.max(0, totalmem() - available)
  } catch {
    // Not a Linux with /proc: the contract knows "unknown".
    return null
  }
}
