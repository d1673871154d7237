import type { WaitingReason } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { plural } from '#core/words.ts'
import { fit } from './choose.ts'
import type { Demand } from './demand.ts'
import type { Fleet } from './fleet.ts'
import { couldEverFit, describeRequest, missingOn } from './fit.ts'
import { chooseGpus, suitableGpus } from './gpus.ts'
import type { Entry, Line } from './line.ts'
import { hasRoom, isCrowded, type Room } from './room.ts'
import type { NodeVerdict, ResourceRequest } from './types.ts'

/** What a planner knows after a pass. */
export interface Situation {
  fleet: Fleet
  line: Line
  now: number
}

/** Each node, and why the task can not start there; none for a task that does not wait. */
export function judgeNodes({ fleet, line, now }: Situation, taskId: string): NodeVerdict[] {
  const entry = line.find(taskId)
  if (!entry) return []
  const judge = createJudge(entry, line, now)
  return fleet.rooms.map((room) => ({ hostname: room.node.hostname, reason: explain(room, entry, judge(room)) }))
}

/** One reason for people. */
export function firstReason({ fleet, line, now }: Situation, taskId: string): WaitingReason | null {
  const entry = line.find(taskId)
  if (!entry) return null
  const [blocked] = entry.task.blocked
  if (blocked) return blocked
  const { target } = entry.task
  if (fleet.rooms.length === 0) return { code: 'no_node', message: 'No node has registered yet.' }
  const judge = createJudge(entry, line, now)
  if (target === null) return summarise(fleet.rooms, entry, judge)
  const room = fleet.find(target.node)
  return room ? explain(room, entry, judge(room)) : { code: 'no_node', message: `The node ${target.node} is not known.` }
}

// --- internal ---

/** So many tasks are named. */
const NAMED = 3

/** `misfit`: it could not run it if it were empty. `null`: it could start there. */
type Verdict = 'misfit' | 'offline' | 'drained' | 'no_room' | 'kept_for_other' | null
type Judge = (room: Room) => Verdict

function createJudge({ task, demand }: Entry, line: Line, now: number): Judge {
  const place = line.entries.findIndex((entry) => entry?.task === task)
  return (room) => {
    const { node, keep } = room
    if (!couldEverFit(task, node)) return 'misfit'
    if (!node.online) return 'offline'
    if (node.drained) return 'drained'
    if (!hasRoom(room, demand)) return 'no_room'
    // It is kept from those behind alone.
    return keep === undefined || keep.place >= place || fit(room, demand, now) !== null ? null : 'kept_for_other'
  }
}

function explain(room: Room, { task, demand }: Entry, verdict: Verdict): WaitingReason | null {
  const { hostname } = room.node
  switch (verdict) {
    case null:
      return null
    case 'misfit':
      return missingOn(task, room.node)[0] ?? null
    case 'offline':
      return { code: verdict, message: `${hostname} is offline.` }
    case 'drained':
      return { code: verdict, message: `${hostname} is drained${room.node.drained?.reason ? ` (${room.node.drained.reason})` : ''}: it gets no more tasks.` }
    case 'no_room':
      return { code: verdict, message: isCrowded(room, demand) ? `${hostname} runs ${room.placed.length} tasks, the most that it takes before one reserves cores or GPUs.` : `${shortOf(room, task, demand)} ${takenBy(room)}` }
    case 'kept_for_other':
      return { code: verdict, message: `${hostname} is kept for the task ${room.keep?.taskId}, which is ahead in the queue and would have to wait longer.` }
    default:
      return verdict satisfies never
  }
}

function shortOf({ node, cores, memory, numa, gpus }: Room, task: ResourceRequest, demand: Demand): string {
  const bound = demand.numaNode === null ? undefined : numa.get(demand.numaNode)
  const freeCores = Math.max(0, Math.min(cores, bound?.cores ?? Infinity))
  const freeMemory = Math.max(0, Math.min(memory, bound?.memory ?? Infinity))
  const where = demand.numaNode === null ? node.hostname : `NUMA node ${demand.numaNode} of ${node.hostname}`
  const free = [
    ...(demand.cores > freeCores ? [`${freeCores} of ${demand.cores} ${plural('core', demand.cores)}`] : []),
    ...(demand.memory > freeMemory ? [`${formatSize(freeMemory)} of ${formatSize(demand.memory)} of memory`] : []),
    ...(chooseGpus(gpus, demand) === null ? [`${suitableGpus(gpus, demand).length} of ${describeRequest({ ...task, cores: 0, memoryBytes: null })}`] : []),
  ]
  return `${where} has ${free.join(' and ')} free.`
}

function takenBy({ placed }: Room): string {
  const holders = placed.filter(({ cores, memoryBytes, gpuIds }) => cores > 0 || memoryBytes !== null || gpuIds.length > 0).map(({ id }) => id)
  const more = holders.length - NAMED
  return `Its room is taken by ${holders.slice(0, NAMED).join(', ')}${more > 0 ? ` and ${more} more ${plural('task', more)}` : ''}.`
}

/** Of all nodes the ones that come closest. `null`: one of them has room. */
function summarise(rooms: readonly Room[], entry: Entry, judge: Judge): WaitingReason | null {
  const counts = { misfit: 0, offline: 0, drained: 0, no_room: 0 }
  let kept: Room | undefined
  let isAnyCrowded = false
  for (const room of rooms) {
    const verdict = judge(room)
    if (verdict === null) return null
    if (verdict === 'kept_for_other') kept ??= room
    else counts[verdict]++
    isAnyCrowded ||= verdict === 'no_room' && isCrowded(room, entry.demand)
  }
  if (kept) return explain(kept, entry, 'kept_for_other')
  const away = [...counted(counts.offline, 'offline'), ...counted(counts.drained, 'drained')].join(' and ')
  const wanted = isAnyCrowded ? 'a node with fewer tasks: those that could run it have the most that they take before one reserves cores or GPUs' : describeRequest(entry.task)
  if (counts.no_room > 0) return { code: 'no_room', message: `Waits for ${wanted}.${away ? ` (${away}.)` : ''}` }
  if (away) return { code: counts.offline > 0 ? 'offline' : 'drained', message: `Of the nodes that could run it, ${away}.` }
  const [first] = rooms
  const missing = first && explain(first, entry, 'misfit')
  return { code: missing?.code ?? 'too_small', message: `No node could run it. ${missing?.message ?? ''}` }
}

function counted(count: number, what: string): string[] {
  return count === 0 ? [] : [`${count} ${plural('is', count, 'are')} ${what}`]
}
