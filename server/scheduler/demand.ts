import type { Hope } from './forecast.ts'
import type { ResourceRequest, WaitingTask } from './types.ts'

/** What decides whether a node may take a task. Tasks that ask for the same share one: where the first does not fit, no other does. */
export interface Demand {
  readonly key: string
  /** As the first task asked for it. */
  readonly request: ResourceRequest
  readonly target: string | null
  readonly cores: number
  readonly memory: number
  readonly numaNode: number | null
  /** So many, if `gpuIds` is `null`. */
  readonly gpus: number
  readonly gpuIds: readonly number[] | null
  readonly gpuMemory: number
  readonly plain: boolean
  /** How long it runs at most; `null`: nobody knows. */
  readonly durationMs: number | null
  /** It reserves nothing, and only its number counts. */
  readonly isWeightless: boolean
  /** Neither cores nor GPUs limit how many of it a node runs: the number of all its tasks does. */
  readonly isLight: boolean
  /** The pass in which no node had room for it. */
  failedIn: number
  /** Where it could start first, of all nodes, when so many changes of nodes had been. */
  soonest: { hope: Hope | null; changes: number } | undefined
}

export interface Demands {
  of(task: WaitingTask): Demand
  /** Forgets what none of these needs any more, once that is much. */
  prune(needed: ReadonlyMap<string, { demand: Demand }>): void
}

/** One demand for all tasks that ask for the same. */
export function createDemands(): Demands {
  let known = new Map<string, Demand>()
  return {
    of(task) {
      const demand = toDemand(task)
      const same = known.get(demand.key)
      if (same) return same
      known.set(demand.key, demand)
      return demand
    },
    prune(needed) {
      if (known.size <= 2 * needed.size + 100) return
      known = new Map(Array.from(needed.values(), ({ demand }) => [demand.key, demand]))
    },
  }
}

// --- internal ---

function toDemand(task: WaitingTask): Demand {
  const { target, cores, memoryBytes, gpus, gpuMemoryBytes, plain, timeLimitSeconds } = task
  const memory = memoryBytes ?? 0
  const gpuIds = target?.gpus ?? null
  const count = gpuIds?.length ?? gpus
  return {
    key: [target?.node, target?.numaNode, gpuIds, cores, memory, count, gpuMemoryBytes, plain, timeLimitSeconds].join(' '),
    request: task,
    target: target?.node ?? null,
    cores,
    memory,
    numaNode: target?.numaNode ?? null,
    gpus: count,
    gpuIds,
    gpuMemory: gpuMemoryBytes ?? 0,
    plain,
    durationMs: timeLimitSeconds === null ? null : timeLimitSeconds * 1000,
    isWeightless: cores === 0 && memory === 0 && count === 0,
    isLight: cores === 0 && count === 0,
    failedIn: -1,
    soonest: undefined,
  }
}
