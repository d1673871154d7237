import type { Gpu } from '#core/api/schemas.ts'
import type { Demand } from './demand.ts'
import { chooseGpus } from './gpus.ts'
import { mustLeave } from './keep.ts'
import { hasCoresAndMemory, isFor, type Room } from './room.ts'
import type { PlanInput } from './types.ts'

/** A node that takes a task now. */
export interface Choice {
  room: Room
  gpus: readonly Gpu[]
}

/** The GPUs that it would get on this node now, behind whom it is kept for; `null`: not there, not now. */
export function fit(room: Room, demand: Demand, now: number): readonly Gpu[] | null {
  if (!hasCoresAndMemory(room, demand)) return null
  if (room.keep === undefined) return chooseGpus(room.gpus, demand)
  const withheld = mustLeave(room.keep, demand, now)
  return withheld === null ? null : chooseGpus(room.gpus, demand, withheld)
}

/** The best of `rooms` that takes it now: see {@link costsLess}. `version`: what it has to load. */
export type ChooseRoom = (rooms: readonly Room[], demand: Demand, version: string | null) => Choice | undefined

/** For one pass, in which nodes are asked once what they would have to load. */
export function createChooser(input: PlanInput): ChooseRoom {
  const { now } = input
  const loads = createLoads(input)
  return (rooms, demand, version) => {
    let best: Choice | undefined
    for (const room of rooms) {
      const gpus = isFor(room, demand) ? fit(room, demand, now) : null
      if (gpus !== null && (best === undefined || costsLess({ room, gpus }, best, { demand, version, loads }))) best = { room, gpus }
    }
    return best
  }
}

// --- internal ---

type Loads = (version: string | null, room: Room) => number

function createLoads({ loadBytes, nodes }: PlanInput): Loads {
  const known = new Map<string, Float64Array>()
  return (version, { index, node }) => {
    if (version === null) return 0
    let bytes = known.get(version)
    if (!bytes) known.set(version, (bytes = new Float64Array(nodes.length).fill(-1)))
    const before = bytes[index] ?? -1
    return before >= 0 ? before : (bytes[index] = loadBytes.get(version)?.get(node.hostname) ?? Infinity)
  }
}

/** What decides, from top to bottom. The difference of what is infinite on both sides is not a number, and decides nothing. */
function costsLess(left: Choice, right: Choice, { demand, version, loads }: { demand: Demand; version: string | null; loads: Loads }): boolean {
  const order = crowd(left.room, demand) - crowd(right.room, demand)
    || loads(version, left.room) - loads(version, right.room)
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
