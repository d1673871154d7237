import type { Gpu } from '#core/api/schemas.ts'
import type { Demand } from './demand.ts'
import { chooseGpus } from './gpus.ts'
import { mustLeave } from './keep.ts'
import { hasCoresAndMemory, isFor, type Room } from './room.ts'

/** A node that takes a task now. */
export interface Choice {
  room: Room
  gpus: readonly Gpu[]
}

/** The GPUs that it would get on this node now, behind whom it is kept for; `null`: not there, not now. */
export function fit(room: Room, demand: Demand, now: number): readonly Gpu[] | null {
  if (!hasCoresAndMemory(room, demand)) return null
  if (room.keep === undefined) return chooseGpus(room.gpus, demand)
  const withheld = mustLeave(room, room.keep, demand, now)
  return withheld === null ? null : chooseGpus(room.gpus, demand, withheld)
}

/** The best of the nodes that take it now: see {@link costsLess}. */
export function chooseRoom(rooms: readonly Room[], demand: Demand, options: { loadBytes(room: Room): number; now: number }): Choice | undefined {
  let best: Choice | undefined
  for (const room of rooms) {
    const gpus = isFor(room, demand) ? fit(room, demand, options.now) : null
    if (gpus !== null && (best === undefined || costsLess({ room, gpus }, best, demand, options.loadBytes))) best = { room, gpus }
  }
  return best
}

// --- internal ---

/** What decides, from top to bottom. The difference of what is infinite on both sides is not a number, and decides nothing. */
function costsLess(left: Choice, right: Choice, demand: Demand, loadBytes: (room: Room) => number): boolean {
  const order = crowd(left.room, demand) - crowd(right.room, demand)
    || loadBytes(left.room) - loadBytes(right.room)
    || gpuBytes(left) - gpuBytes(right)
    || (demand.isWeightless ? left.room.placed.length - right.room.placed.length : left.room.cores - right.room.cores)
    || left.room.memory - right.room.memory
    || left.room.index - right.room.index
  return order < 0
}

/** Rounds of as many tasks as there are cores: what reserves nothing would all go to one node. */
function crowd({ placed, node }: Room, demand: Demand): number {
  return demand.isWeightless ? Math.floor(placed.length / Math.max(1, node.cores)) : 0
}

/** GPU memory that it takes; of a task that wants none, what would lie idle beside it. */
function gpuBytes({ room, gpus }: Choice): number {
  return gpus.length === 0 ? room.gpuBytes : gpus.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
}
