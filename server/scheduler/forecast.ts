import type { Demand } from './demand.ts'
import { couldEverFit } from './fit.ts'
import { type GpuGroup, groupGpus, suitableGpus } from './gpus.ts'
import { hasRoom, isFor, type Room } from './room.ts'
import type { PlacedTask } from './types.ts'

/** When a task could start on a node that is full now, by the time limits of what runs there. */

/** What is free for a request. */
export interface Free {
  cores: number
  memory: number
  /** Of the NUMA node that it must run on. */
  numaCores: number
  numaMemory: number
}

/** What a task that waits could hope for on a node. The less the better: known starts first, then where less is missing. */
export interface Hope {
  room: Room
  /** By then it has room there at the latest, Unix milliseconds; `Infinity`: nobody knows; `-Infinity`: it has it now. */
  startsBy: number
  /** How much of what it asks for is missing now: 1 for each thing that there is nothing of. Counts where nobody knows when it starts. */
  shortage: number
}

/** The better of `best` and what the task could hope for on this node. */
export function better(best: Hope | null, room: Room, demand: Demand): Hope | null {
  if (!isFor(room, demand)) return best
  if (hasRoom(room, demand)) return soonerOf(best, { room, startsBy: -Infinity, shortage: 0 })
  // It can not start before the first of them ends.
  if (best !== null && best.startsBy < Infinity && best.startsBy < room.firstEnd) return best
  if (!couldEverFit(demand.request, room.node)) return best
  const { startsBy } = advance(room, demand)
  return soonerOf(best, { room, startsBy: startsBy ?? Infinity, shortage: startsBy === null ? shortageIn(room, demand) : 0 })
}

export interface Forecast {
  /** `null`: nobody knows. */
  startsBy: number | null
  /** What is free then; what is free now if nobody knows when that is. */
  free: Free & { gpus: readonly GpuGroup[] }
}

/** When a task that has no room on the node now can start there at the latest. */
export function forecast(room: Room, demand: Demand): Forecast {
  const { startsBy, free, ended } = advance(room, demand)
  if (startsBy === null) return { startsBy, free: { ...freeFor(room, demand), gpus: room.gpus } }
  const returned = new Set(ended.flatMap(({ gpuIds }) => gpuIds))
  const gpus = returned.size === 0 ? room.gpus : groupGpus([...room.gpus.flat(), ...room.node.gpus.filter(({ id }) => returned.has(id))])
  return { startsBy, free: { ...free, gpus } }
}

// --- internal ---

function soonerOf(best: Hope | null, other: Hope): Hope {
  if (best === null || other.startsBy < best.startsBy) return other
  if (other.startsBy > best.startsBy) return best
  return other.shortage < best.shortage || (other.shortage === best.shortage && other.room.index < best.room.index) ? other : best
}

/** Those whose end is known, the first first. */
function endsOf(room: Room): readonly PlacedTask[] {
  room.ends ??= room.placed.filter(({ endsBy }) => endsBy !== null).sort((left, right) => (left.endsBy ?? 0) - (right.endsBy ?? 0))
  return room.ends
}

function freeFor(room: Room, demand: Demand): Free {
  const numa = demand.numaNode === null ? undefined : room.numa.get(demand.numaNode)
  return { cores: room.cores, memory: room.memory, numaCores: numa?.cores ?? Infinity, numaMemory: numa?.memory ?? Infinity }
}

/** Lets tasks end, those of one time together, until there is room. */
function advance(room: Room, demand: Demand): { startsBy: number | null; free: Free; ended: readonly PlacedTask[] } {
  const ends = endsOf(room)
  const free = freeFor(room, demand)
  let gpus = demand.gpus === 0 ? 0 : suitableGpus(room.gpus, demand).length
  for (const [index, task] of ends.entries()) {
    free.cores += task.cores
    free.memory += task.memoryBytes ?? 0
    if (task.numaNode === demand.numaNode) {
      free.numaCores += task.cores
      free.numaMemory += task.memoryBytes ?? 0
    }
    if (demand.gpus > 0) gpus += suitableGpus([room.node.gpus.filter(({ id }) => task.gpuIds.includes(id))], demand).length
    const isLastOfItsTime = ends[index + 1]?.endsBy !== task.endsBy
    if (isLastOfItsTime && gpus >= demand.gpus && isEnough(free, demand)) return { startsBy: task.endsBy, free, ended: ends.slice(0, index + 1) }
  }
  return { startsBy: null, free, ended: [] }
}

function isEnough(free: Free, { cores, memory }: Demand): boolean {
  return (cores === 0 || (cores <= free.cores && cores <= free.numaCores)) && (memory === 0 || (memory <= free.memory && memory <= free.numaMemory))
}

function shortageIn(room: Room, demand: Demand): number {
  const free = freeFor(room, demand)
  const gpus = demand.gpus === 0 ? 0 : suitableGpus(room.gpus, demand).length
  return missing(demand.cores, Math.min(free.cores, free.numaCores)) + missing(demand.memory, Math.min(free.memory, free.numaMemory)) + missing(demand.gpus, gpus)
}

function missing(asked: number, free: number): number {
  return asked > free && asked > 0 ? (asked - free) / asked : 0
}
