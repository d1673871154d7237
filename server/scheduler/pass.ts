import { type Choice, chooseRoom } from './choose.ts'
import type { Demand } from './demand.ts'
import type { Fleet } from './fleet.ts'
import { isSooner, type Terms, termsOn } from './keep.ts'
import type { Entry, Line } from './line.ts'
import { freeGpus, isFor, type Room, takeRoom } from './room.ts'
import type { KeptNode, Placement, Plan, PlanInput } from './types.ts'
import { firstReason, judgeNodes } from './verdicts.ts'

/** Nodes are kept for so many different requests at a time, the first in the queue; a target's node besides. */
const KEPT_AT_MOST = 8

export interface PassOptions {
  fleet: Fleet
  line: Line
  input: PlanInput
  /** Its number. */
  pass: number
  /** Where there may be more room than in the last pass. */
  changed: readonly Room[]
}

export interface PassResult {
  plan: Plan
  /** For which nodes may have been kept. */
  asking: ReadonlySet<Demand>
}

/** Goes through the queue once: gives each its place, or keeps a node for it. */
export function runPass({ fleet, line, input: { now, loadBytes }, pass, changed }: PassOptions): PassResult {
  const placements: Placement[] = []
  const kept: KeptNode[] = []
  const dirty: Room[] = []
  const asking = new Set<Demand>()
  let untargeted = 0
  const most = { cores: -Infinity, memory: -Infinity, gpus: -Infinity }

  function markDirty(room: Room): void {
    if (room.dirtyIn === pass) return
    room.dirtyIn = pass
    dirty.push(room)
    most.cores = Math.max(most.cores, room.cores, 0)
    most.memory = Math.max(most.memory, room.memory, 0)
    most.gpus = Math.max(most.gpus, freeGpus(room))
  }

  function roomsOf({ isJudged, demand }: Entry): readonly Room[] {
    if (demand.target === null) return isJudged ? dirty : fleet.rooms
    const room = fleet.find(demand.target)
    return room && (!isJudged || room.dirtyIn === pass) ? [room] : []
  }

  /** Whether all of it was placed. */
  function place(entry: Entry): boolean {
    const { task, demand } = entry
    const rooms = roomsOf(entry).filter((room) => isFor(room, demand))
    if (rooms.length === 0) return false
    const loads = task.version === null ? null : loadBytes.get(task.version)
    for (let left = task.count; left > 0; left--) {
      const choice = chooseRoom(rooms, demand, { loads, now })
      if (!choice) return false
      placements.push(take(choice, entry, now))
    }
    return true
  }

  /** The node that is kept for it from now on. If another has its best node already, it waits behind that one. */
  function keep(entry: Entry, place: number): Room | undefined {
    const { task, demand } = entry
    const best = demand.target === null ? soonestOfAll(entry) : soonest([fleet.find(demand.target)], demand)
    if (!best || best.room.keep) return undefined
    asking.add(demand)
    best.room.keep = { place, taskId: task.id, demand }
    kept.push({ taskId: task.id, node: best.room.node.hostname, startsBy: best.terms.startsBy === null ? null : Math.max(now, best.terms.startsBy) })
    return best.room
  }

  function soonestOfAll({ demand, isJudged }: Entry): Hope | undefined {
    if (untargeted === KEPT_AT_MOST) return undefined
    const wasHopeless = isJudged && demand.hopelessIn === pass - 1 && !dirty.some((room) => termsOn(room, demand) !== null)
    const best = wasHopeless ? undefined : soonest(fleet.rooms, demand)
    if (best) {
      untargeted++
      asking.add(demand)
    } else {
      demand.hopelessIn = pass
      demand.outlook = []
    }
    return best
  }

  /** Most of those that wait: nothing has changed for them. */
  function isAsBefore(entry: Entry): boolean {
    if (!entry.isJudged || entry.kept) return false
    const isTooMuch = entry.cores > most.cores || entry.memory > most.memory || entry.gpus > most.gpus
    return (isTooMuch && untargeted === KEPT_AT_MOST && entry.demand.target === null) || entry.demand.failedIn === pass
  }

  for (const room of fleet.rooms) room.keep = undefined
  changed.forEach(markDirty)
  for (const [index, entry] of line.entries.entries()) {
    if (!entry.mayStart || isAsBefore(entry)) continue
    const { demand } = entry
    const failedBefore = demand.failedIn === pass
    const isPlaced = !failedBefore && place(entry)
    const room = failedBefore || isPlaced ? undefined : keep(entry, index)
    if (!isPlaced) demand.failedIn = pass
    // What was placed was not looked at everywhere: if it comes again, it is.
    entry.isJudged = !isPlaced
    if (entry.kept && entry.kept !== room) markDirty(entry.kept)
    entry.kept = room
  }

  const plan: Plan = {
    placements,
    kept,
    reasonFor: (taskId) => firstReason({ fleet, line, now }, taskId),
    nodesFor: (taskId) => judgeNodes({ fleet, line, now }, taskId),
  }
  return { plan, asking }
}

// --- internal ---

function take({ room, gpus }: Choice, { task, demand }: Entry, now: number): Placement {
  const gpuIds = gpus.map(({ id }) => id)
  const { numaNode, durationMs } = demand
  takeRoom(room, { id: task.id, cores: task.cores, memoryBytes: task.memoryBytes, gpuIds, numaNode, endsBy: durationMs === null ? null : now + durationMs })
  return { taskId: task.id, node: room.node.hostname, gpuIds, numaNode }
}

interface Hope {
  room: Room
  terms: Terms
}

/** Where it can start first. A node that is kept for a target's task is left out: that one may be the first of many. */
function soonest(rooms: readonly (Room | undefined)[], demand: Demand): Hope | undefined {
  let best: Hope | undefined
  for (const room of rooms) {
    if (!room || (room.keep && room.keep.demand.target !== null)) continue
    const terms = termsOn(room, demand)
    if (terms !== null && (best === undefined || isSooner(terms, best.terms))) best = { room, terms }
  }
  return best
}
