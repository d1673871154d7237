import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NumaNode } from '#core/api/schemas.ts'
import { systemErrorCode } from '#core/errors.ts'
import { parseCpuList } from './cpu-list.ts'

const NODES = '/sys/devices/system/node'

/** The NUMA nodes that have CPUs and memory; empty where the kernel tells of none. */
export function readNumaNodes(directory = NODES): NumaNode[] {
  const ids = readNames(directory).flatMap((name) => /^node(?<id>\d+)$/.exec(name)?.groups?.['id'] ?? []).map(Number)
  return ids.toSorted((left, right) => left - right).flatMap((id) => {
    const cpus = readFileSync(join(directory, `node${id}`, 'cpulist'), 'utf8').trim()
    const memory = /MemTotal:\s+(?<amount>\d+) kB/.exec(readFileSync(join(directory, `node${id}`, 'meminfo'), 'utf8'))?.groups?.['amount']
    const cores = parseCpuList(cpus).length
    // Memory without CPUs, such as that of an accelerator, is nothing that a task could be sent to.
    return cores === 0 || memory === undefined ? [] : [{ id, cpus, cores, memoryBytes: Number(memory) * 1024 }]
  })
}

// --- internal ---

function readNames(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return []
    throw error
  }
}
