import type { Gpu } from '#core/api/schemas.ts'
import type { Demand } from './demand.ts'

/** GPUs of one NUMA node, the smallest first. */
export type GpuGroup = readonly Gpu[]

/** GPUs by NUMA node; those of which nobody knows it are one group. */
export function groupGpus(gpus: readonly Gpu[]): GpuGroup[] {
  const groups = new Map<number | null, Gpu[]>()
  for (const gpu of gpus.toSorted((left, right) => left.memoryBytes - right.memoryBytes || left.id - right.id)) {
    const group = groups.get(gpu.numaNode)
    if (group) group.push(gpu)
    else groups.set(gpu.numaNode, [gpu])
  }
  return [...groups.values()]
}

/**
 * Picks GPUs: on one NUMA node where possible, the wanted one first; then the smallest that are large enough; then where
 * fewest others are left, so that whole NUMA nodes stay free. `null`: there are not enough.
 *
 * @param free those that nobody has
 * @param withheld ids that it must leave
 */
export function chooseGpus(free: readonly GpuGroup[], demand: Demand, withheld?: ReadonlySet<number>): readonly Gpu[] | null {
  if (demand.gpuIds !== null) return namedGpus(free, demand, demand.gpuIds, withheld)
  if (demand.gpus === 0) return NONE
  let best: { group: GpuGroup; score: GroupScore } | undefined
  let suitable = 0
  for (const group of free) {
    const score = scoreGroup(group, demand, withheld)
    suitable += score.suitable
    if (score.suitable >= demand.gpus && (best === undefined || isBetter(score, best.score))) best = { group, score }
  }
  if (suitable < demand.gpus) return null
  const among = best?.group ?? free.flat().sort((left, right) => left.memoryBytes - right.memoryBytes || left.id - right.id)
  return among.filter((gpu) => isSuitable(gpu, demand, withheld)).slice(0, demand.gpus)
}

/** All that would do, however many. */
export function suitableGpus(free: readonly GpuGroup[], demand: Demand): readonly Gpu[] {
  const { gpuIds } = demand
  return free.flat().filter((gpu) => isSuitable(gpu, demand) && (gpuIds === null || gpuIds.includes(gpu.id)))
}

// --- internal ---

const NONE: readonly Gpu[] = []

interface GroupScore {
  isElsewhere: number
  /** Of those that it would take. */
  bytes: number
  suitable: number
  firstId: number
}

function isSuitable({ id, memoryBytes }: Gpu, demand: Demand, withheld?: ReadonlySet<number>): boolean {
  return memoryBytes >= demand.gpuMemory && !withheld?.has(id)
}

function scoreGroup(group: GpuGroup, demand: Demand, withheld: ReadonlySet<number> | undefined): GroupScore {
  const score = { isElsewhere: Number(demand.numaNode !== null && group[0]?.numaNode !== demand.numaNode), bytes: 0, suitable: 0, firstId: Infinity }
  for (const gpu of group) {
    if (!isSuitable(gpu, demand, withheld)) continue
    score.suitable++
    if (score.suitable === 1) score.firstId = gpu.id
    if (score.suitable <= demand.gpus) score.bytes += gpu.memoryBytes
  }
  return score
}

function isBetter(left: GroupScore, right: GroupScore): boolean {
  return (left.isElsewhere - right.isElsewhere || left.bytes - right.bytes || left.suitable - right.suitable || left.firstId - right.firstId) < 0
}

function namedGpus(free: readonly GpuGroup[], demand: Demand, ids: readonly number[], withheld: ReadonlySet<number> | undefined): readonly Gpu[] | null {
  const chosen = free.flat().filter((gpu) => ids.includes(gpu.id) && isSuitable(gpu, demand, withheld))
  return chosen.length === ids.length ? chosen.sort((left, right) => ids.indexOf(left.id) - ids.indexOf(right.id)) : null
}
