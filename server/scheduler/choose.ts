import type { Gpu } from '#core/api/schemas.ts'
import type { Demand } from './demand.ts'
import { chooseGpus } from './gpus.ts'
import { mustLeave } from './keep.ts'
import { hasCoresAndMemory, type Room } from './room.ts'
import type { LoadBytes } from './types.ts'

/** A node that may take a task now, with what decides between several: less is better, from top to bottom. */
export interface Choice {
  room: Room
  gpus: readonly Gpu[]
  /** Rounds of as many tasks as there are cores: what reserves nothing would all go to one node. */
  crowd: number
  loadBytes: number
  /** GPU memory that it takes; of a task that wants none, what would lie idle beside it. */
  gpuBytes: number
  coresLeft: number
  memoryLeft: number
}

/** The GPUs that it would get on this node now, behind whom it is kept for; `null`: not there, not now. */
export function fit(room: Room, demand: Demand, now: number): readonly Gpu[] | null {
  if (!hasCoresAndMemory(room, demand)) return null
  if (room.keep === undefined) return chooseGpus(room.gpus, demand)
  const withheld = mustLeave(room, room.keep, demand, now)
  return withheld === null ? null : chooseGpus(room.gpus, demand, withheld)
}

/** The best of the nodes that take it now. */
export function chooseRoom(rooms: readonly Room[], demand: Demand, options: { loads: ReturnType<LoadBytes['get']> | null; now: number }): Choice | undefined {
  let best: Choice | undefined
  for (const room of rooms) {
    const gpus = fit(room, demand, options.now)
    if (gpus === null) continue
    const choice = toChoice(room, demand, gpus, options.loads)
    if (best === undefined || compare(choice, best) < 0) best = choice
  }
  return best
}

// --- internal ---

/** @param loads `null`: there is nothing to load */
function toChoice(room: Room, demand: Demand, gpus: readonly Gpu[], loads: ReturnType<LoadBytes['get']> | null): Choice {
  const tasks = room.placed.length
  return {
    room,
    gpus,
    crowd: demand.isWeightless ? Math.floor(tasks / Math.max(1, room.node.cores)) : 0,
    loadBytes: loads === null ? 0 : (loads?.get(room.node.hostname) ?? Infinity),
    gpuBytes: gpus.length === 0 ? room.gpuBytes : gpus.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    coresLeft: demand.isWeightless ? tasks : room.cores - demand.cores,
    memoryLeft: room.memory - demand.memory,
  }
}

/** The difference of what is infinite on both sides is not a number, and decides nothing. */
function compare(left: Choice, right: Choice): number {
  return left.crowd - right.crowd
    || left.loadBytes - right.loadBytes
    || left.gpuBytes - right.gpuBytes
    || left.coresLeft - right.coresLeft
    || left.memoryLeft - right.memoryLeft
    || left.room.index - right.room.index
}
