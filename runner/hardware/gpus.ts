import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import type { Gpu } from '#core/api/schemas.ts'
import { errorMessage, systemErrorCode } from '#core/errors.ts'

const QUERY = ['--query-gpu=index,uuid,name,memory.total,pci.bus_id', '--format=csv,noheader,nounits']
/** A driver that hangs must not keep the Runner from its start. */
const PATIENCE_MS = 10_000

/** The GPUs that `nvidia-smi` lists; none where there is none, which is told if it is there and fails. */
export async function readGpus(program = 'nvidia-smi'): Promise<Gpu[]> {
  try {
    const { stdout } = await promisify(execFile)(program, QUERY, { timeout: PATIENCE_MS, killSignal: 'SIGKILL' })
    return parseGpus(stdout, readNumaNode)
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') console.error(`[hakuriver] [runner] this node offers no GPUs: ${errorMessage(error).trim()}`)
    return []
  }
}

/** What {@link readGpus} reads. A line that is no GPU with an index and a memory of its own is left out. */
export function parseGpus(text: string, numaNodeOf: (busId: string) => number | null): Gpu[] {
  return text.split('\n').flatMap((line) => {
    const [index = '', uuid = '', name = '', mebibytes = '', busId = ''] = line.split(',').map((field) => field.trim())
    if (!/^\d+$/.test(index) || !/^GPU-[\w-]+$/.test(uuid) || !/^\d+$/.test(mebibytes)) return []
    return [{ id: Number(index), uuid, name, memoryBytes: Number(mebibytes) * 1024 ** 2, numaNode: numaNodeOf(busId) }]
  })
}

// --- internal ---

/** `nvidia-smi` writes the domain with eight digits, the kernel with four. */
function readNumaNode(busId: string): number | null {
  const device = busId.toLowerCase().replace(/^[0-9a-f]{4}(?=[0-9a-f]{4}:)/, '')
  try {
    const node = Number(readFileSync(`/sys/bus/pci/devices/${device}/numa_node`, 'utf8'))
    return node >= 0 ? node : null
  } catch {
    // Not told by this machine: the contract knows "unknown".
    return null
  }
}
