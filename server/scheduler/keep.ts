import type { Demand } from './demand.ts'
import { couldEverFit } from './fit.ts'
import { chooseGpus, suitableGpus } from './gpus.ts'
import { copyRoom, hasCoresAndMemory, hasRoom, releaseRoom, type Room } from './room.ts'
import type { PlacedTask } from './types.ts'

/** What a task that waits could hope for on a node. */
export interface Terms {
  /** By then it has room there at the latest, Unix milliseconds; `null`: nobody knows; `-Infinity`: it has it now. */
  startsBy: number | null
  /** How much of what it asks for is missing now. */
  shortage: number
  /** What is free beside it when it starts. Below 0 while it is not known when that is, and something is missing. */
  spare: { cores: number; memory: number; numaCores: number; numaMemory: number }
  /** GPUs that are left to it. */
  gpuIds: ReadonlySet<number>
}

/** {@link Terms} as worked out from a state of a node. */
export interface Outlook {
  version: number
  terms: Terms | null
}

/** A node that is kept for a task. */
export interface Keep {
  /** Its place in the queue: it is kept from those behind. */
  place: number
  taskId: string
  demand: Demand
}

/** What it could hope for on the node, by the time limits of what runs there; `null`: nothing, however long it waits. */
export function termsOn(room: Room, demand: Demand): Terms | null {
  const slot = demand.target === null ? room.index : 0
  const known = demand.outlook[slot]
  if (known?.version === room.version) return known.terms
  const terms = room.isOpen && couldEverFit(demand.request, room.node) ? workOut(room, demand) : null
  demand.outlook[slot] = { version: room.version, terms }
  return terms
}

/** Whether waiting there is better: known starts before unknown ones, then where less is missing. */
export function isSooner(left: Terms, right: Terms): boolean {
  if (left.startsBy === null || right.startsBy === null) return left.startsBy !== null || (right.startsBy === null && left.shortage < right.shortage)
  return left.startsBy < right.startsBy
}

/**
 * What a task from behind must leave on a kept node: nothing if it has ended by then, else GPUs. `null`: it would be in the
 * way, since it asks for more than there is beside the one that it is kept for.
 */
export function mustLeave(room: Room, { demand: holder }: Keep, demand: Demand, now: number): ReadonlySet<number> | null {
  const terms = termsOn(room, holder)
  if (terms === null) return NONE
  const { startsBy, spare, gpuIds } = terms
  if (startsBy !== null && demand.durationMs !== null && now + demand.durationMs <= startsBy) return NONE
  const { cores, memory } = demand
  const isInTheWay = (asked: number, wanted: number, free: number) => asked > 0 && wanted > 0 && asked > free
  if (isInTheWay(cores, holder.cores, spare.cores) || isInTheWay(memory, holder.memory, spare.memory)) return null
  const isSameNuma = demand.numaNode !== null && demand.numaNode === holder.numaNode
  if (isSameNuma && (isInTheWay(cores, holder.cores, spare.numaCores) || isInTheWay(memory, holder.memory, spare.numaMemory))) return null
  return gpuIds
}

// --- internal ---

const NONE: ReadonlySet<number> = new Set()

function workOut(room: Room, demand: Demand): Terms {
  if (hasRoom(room, demand)) return termsAt(room, room, demand, -Infinity)
  const future = copyRoom(room)
  for (const [endsBy, tasks] of ends(room.placed)) {
    releaseRoom(future, tasks)
    if (hasRoom(future, demand)) return termsAt(room, future, demand, endsBy)
  }
  return termsAt(room, room, demand, null)
}

/** Those that end at the same time, the first first. */
function ends(placed: readonly PlacedTask[]): [number, PlacedTask[]][] {
  const known = new Map<number, PlacedTask[]>()
  for (const task of placed) {
    if (task.endsBy === null) continue
    const together = known.get(task.endsBy)
    if (together) together.push(task)
    else known.set(task.endsBy, [task])
  }
  return [...known].sort(([left], [right]) => left - right)
}

/** @param then the node when it starts; the node of now if nobody knows when that is */
function termsAt(room: Room, then: Room, demand: Demand, startsBy: number | null): Terms {
  const numa = demand.numaNode === null ? undefined : then.numa.get(demand.numaNode)
  const gpus = chooseGpus(then.gpus, demand) ?? suitableGpus(then.gpus, demand)
  return {
    startsBy,
    shortage: shortageIn(room, demand),
    spare: { cores: then.cores - demand.cores, memory: then.memory - demand.memory, numaCores: (numa?.cores ?? 0) - demand.cores, numaMemory: (numa?.memory ?? 0) - demand.memory },
    gpuIds: gpus.length === 0 ? NONE : new Set(gpus.map(({ id }) => id)),
  }
}

function shortageIn(room: Room, demand: Demand): number {
  const missing = (asked: number, free: number) => (asked > free && asked > 0 ? (asked - free) / asked : 0)
  const numa = demand.numaNode === null ? undefined : room.numa.get(demand.numaNode)
  const gpus = chooseGpus(room.gpus, demand) === null ? missing(demand.gpus, suitableGpus(room.gpus, demand).length) : 0
  if (hasCoresAndMemory(room, demand)) return gpus
  return gpus + missing(demand.cores, Math.min(room.cores, numa?.cores ?? Infinity)) + missing(demand.memory, Math.min(room.memory, numa?.memory ?? Infinity))
}
