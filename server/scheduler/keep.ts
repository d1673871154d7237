import type { Demand } from './demand.ts'
import { chooseGpus, suitableGpus } from './gpus.ts'
import { forecast } from './forecast.ts'
import type { Room } from './room.ts'

/** A node that is kept for a task. */
export interface Keep {
  room: Room
  taskId: string
  demand: Demand
  /** Its place in the queue: the node is kept from those behind. */
  place: number
  /** What others may have beside it, as of `version` of the room. */
  terms: Terms
  version: number
}

export interface Terms {
  /** By then it has room at the latest, Unix milliseconds; `null`: nobody knows. */
  startsBy: number | null
  /** What is free beside it when it starts. Below 0 while it is not known when that is, and something is missing. */
  spare: { cores: number; memory: number; numaCores: number; numaMemory: number }
  /** GPUs that are left to it. */
  gpuIds: ReadonlySet<number>
}

/** Keeps the room for a task that has to wait, from those behind it. `before`: what was kept for it in the last pass. */
export function keepRoom({ room, taskId, demand, place }: Pick<Keep, 'room' | 'taskId' | 'demand' | 'place'>, before: Keep | undefined): Keep {
  const isAsBefore = before?.room === room && before.version === room.version
  room.keep = { room, taskId, demand, place, terms: isAsBefore ? before.terms : termsOn(room, demand), version: room.version }
  return room.keep
}

/**
 * What a task from behind must leave on a kept node: nothing if it has ended by then, else GPUs. `null`: it would be in the
 * way, since it asks for more than there is beside the one that it is kept for.
 */
export function mustLeave(keep: Keep, demand: Demand, now: number): ReadonlySet<number> | null {
  const { room } = keep
  if (keep.version !== room.version) Object.assign(keep, { terms: termsOn(room, keep.demand), version: room.version })
  const { demand: holder, terms: { startsBy, spare, gpuIds } } = keep
  if (startsBy !== null && demand.durationMs !== null && now + demand.durationMs <= startsBy) return NONE
  const { cores, memory } = demand
  if (isInTheWay(cores, holder.cores, spare.cores) || isInTheWay(memory, holder.memory, spare.memory)) return null
  const isSameNuma = demand.numaNode !== null && demand.numaNode === holder.numaNode
  if (isSameNuma && (isInTheWay(cores, holder.cores, spare.numaCores) || isInTheWay(memory, holder.memory, spare.numaMemory))) return null
  return gpuIds
}

// --- internal ---

const NONE: ReadonlySet<number> = new Set()

function isInTheWay(asked: number, wanted: number, spare: number): boolean {
  return asked > 0 && wanted > 0 && asked > spare
}

function termsOn(room: Room, demand: Demand): Terms {
  const { startsBy, free } = forecast(room, demand)
  const gpus = chooseGpus(free.gpus, demand) ?? suitableGpus(free.gpus, demand)
  return {
    startsBy,
    spare: { cores: free.cores - demand.cores, memory: free.memory - demand.memory, numaCores: free.numaCores - demand.cores, numaMemory: free.numaMemory - demand.memory },
    gpuIds: gpus.length === 0 ? NONE : new Set(gpus.map(({ id }) => id)),
  }
}
