import { createChooser } from './choose.ts'
import type { Fleet } from './fleet.ts'
import { better, type Hope } from './forecast.ts'
import { type Keep, keepRoom } from './keep.ts'
import { ALWAYS, type Entry, type Line, NEVER, thresholdOf } from './line.ts'
import type { Room } from './room.ts'
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
  /** Rooms that those behind the cut have to look at in the next pass. */
  unseen: readonly Room[]
}

/** Goes through the queue once: gives each its place, or keeps a node for it. After `mostPlacements` it is cut, and the next pass goes on. */
export function runPass({ fleet, line, input, pass, changed }: PassOptions): PassResult {
  const { now, mostPlacements = Infinity } = input
  const placements: Placement[] = []
  const kept: KeptNode[] = []
  const chooseRoom = createChooser(input)
  const dirty: Room[] = []
  /** Of those that are dirty. */
  let reach: Reach | undefined
  let asking = 0
  const isCut = () => placements.length >= mostPlacements

  function markDirty(room: Room): void {
    if (room.dirtyIn === pass) return
    room.dirtyIn = pass
    dirty.push(room)
    reach = undefined
  }

  function roomsOf({ isJudged, demand }: Entry): readonly Room[] {
    if (demand.target === null) return isJudged ? dirty : fleet.rooms
    const room = fleet.find(demand.target)
    return room && (!isJudged || room.dirtyIn === pass) ? [room] : []
  }

  /** Whether all of it was placed. */
  function place(entry: Entry): boolean {
    const { task, demand } = entry
    const rooms = roomsOf(entry)
    for (let left = task.count; left > 0; left--) {
      if (isCut()) return false
      const choice = chooseRoom(rooms, demand, task.version)
      if (!choice) return false
      const { room, gpus } = choice
      const gpuIds = gpus.map(({ id }) => id)
      const { numaNode, durationMs } = demand
      fleet.take(room, { id: task.id, cores: task.cores, memoryBytes: task.memoryBytes, gpuIds, numaNode, endsBy: durationMs === null ? null : now + durationMs })
      // Who it is kept for starts later now, and so what ends before that may be longer.
      markDirty(room)
      reach = undefined
      placements.push({ taskId: task.id, node: room.node.hostname, gpuIds, numaNode })
    }
    return true
  }

  /** What is kept for it from now on. If another has its best node already, it waits behind that one. */
  function keep({ task, demand, kept: before }: Entry, index: number): Keep | undefined {
    // What reserves nothing takes nothing from anybody, and nobody can take from it.
    if (demand.isWeightless) return undefined
    const room = demand.target === null ? bestOfAll(demand) : fleet.find(demand.target)
    if (!room || room.keep || (demand.target !== null && better(null, room, demand) === null)) return undefined
    const made = keepRoom({ room, taskId: task.id, demand, place: index }, before)
    const { startsBy } = made.terms
    kept.push({ taskId: task.id, node: room.node.hostname, startsBy: startsBy === null ? null : Math.max(now, startsBy) })
    return made
  }

  function bestOfAll(demand: Entry['demand']): Room | undefined {
    if (asking === KEPT_AT_MOST) return undefined
    let hope = fleet.soonest(demand)
    // It does not wait behind the task of a target: that one may be the first of many.
    const isForTarget = (room: Room) => room.keep !== undefined && room.keep.demand.target !== null
    if (hope && isForTarget(hope.room)) hope = fleet.rooms.filter((room) => !isForTarget(room)).reduce<Hope | null>((best, room) => better(best, room, demand), null)
    if (hope) asking++
    return hope?.room
  }

  function decide(entry: Entry, index: number): void {
    const { demand } = entry
    const failedBefore = demand.failedIn === pass
    const isPlaced = !failedBefore && place(entry)
    if (!isPlaced && isCut()) {
      entry.isJudged = false
      line.thresholds[index] = ALWAYS
      return
    }
    const made = failedBefore || isPlaced ? undefined : keep(entry, index)
    if (!isPlaced) demand.failedIn = pass
    // What was placed was not looked at everywhere: if it comes again, it is.
    entry.isJudged = !isPlaced
    line.thresholds[index] = isPlaced || made || demand.target !== null ? ALWAYS : thresholdOf(demand)
    if (entry.kept && entry.kept.room !== made?.room) markDirty(entry.kept.room)
    entry.kept = made
  }

  /** The next that something may have changed for. */
  function nextFrom(start: number): number {
    const { thresholds, demands } = line
    // The first few are asked in each pass for which node is kept for them.
    const { any, withGpus } = asking === KEPT_AT_MOST ? (reach ??= reachOf(dirty)) : EVERYWHERE
    let index = start
    for (; index < thresholds.length; index++) {
      const threshold = thresholds[index] ?? -1
      if (threshold < 0 || (threshold <= (threshold & 1 ? withGpus : any) && demands[index]?.failedIn !== pass)) break
    }
    return index
  }

  for (const room of fleet.rooms) room.keep = undefined
  changed.forEach(markDirty)
  for (let index = nextFrom(0); index < line.entries.length && !isCut(); index = nextFrom(index + 1)) {
    const entry = line.entries[index]
    if (entry?.mayStart) decide(entry, index)
  }

  return {
    plan: {
      placements,
      kept,
      isCut: isCut(),
      reasonFor: (taskId) => firstReason({ fleet, line, now }, taskId),
      nodesFor: (taskId) => judgeNodes({ fleet, line, now }, taskId),
    },
    unseen: isCut() ? dirty : [],
  }
}

// --- internal ---

const EVERYWHERE = { any: NEVER - 1, withGpus: NEVER - 1 }

/** The highest thresholds that a room comes up to. */
interface Reach {
  any: number
  withGpus: number
}

/** What asks for nothing fits where there is less than nothing. */
function reachOf(rooms: readonly Room[]): Reach {
  const most = (some: readonly Room[]) => some.reduce((cores, room) => Math.max(cores, room.cores, 0), -1)
  return { any: 2 * most(rooms) + 1, withGpus: 2 * most(rooms.filter(({ gpuBytes }) => gpuBytes > 0)) + 1 }
}
