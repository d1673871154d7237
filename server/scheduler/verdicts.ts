import type { WaitingReason } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { fit } from './choose.ts'
import type { Demand } from './demand.ts'
import type { Fleet } from './fleet.ts'
import { describeRequest, missingOn, plural } from './fit.ts'
import { chooseGpus, suitableGpus } from './gpus.ts'
import type { Entry, Line } from './line.ts'
import { hasRoom, type Room } from './room.ts'
import type { NodeVerdict, ResourceRequest, WaitingTask } from './types.ts'

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
  const judge = createJudge(entry, line.entries.indexOf(entry), now)
  return fleet.rooms.map((room) => ({ hostname: room.node.hostname, reason: judge(room) }))
}

/** One reason for people. */
export function firstReason({ fleet, line, now }: Situation, taskId: string): WaitingReason | null {
  const entry = line.find(taskId)
  if (!entry) return null
  const judge = createJudge(entry, line.entries.indexOf(entry), now)
  const [blocked] = entry.task.blocked
  if (blocked) return blocked
  const { target } = entry.task
  if (fleet.rooms.length === 0) return { code: 'no_node', message: 'No node has registered yet.' }
  if (target !== null) {
    const room = fleet.find(target.node)
    return room ? judge(room) : { code: 'no_node', message: `The node ${target.node} is not known.` }
  }
  return summarise(fleet.rooms.map(judge), entry.task)
}

// --- internal ---

/** So many tasks are named. */
const NAMED = 3

function createJudge({ task, demand }: Entry, place: number, now: number): (room: Room) => WaitingReason | null {
  return (room) => {
    const { node, keep } = room
    const [missing] = missingOn(task, node)
    if (missing) return missing
    if (!node.online) return { code: 'offline', message: `${node.hostname} is offline.` }
    if (node.drained) return { code: 'drained', message: `${node.hostname} is drained: it gets no more tasks.` }
    if (!hasRoom(room, demand)) return { code: 'no_room', message: `${shortOf(room, task, demand)} ${takenBy(room)}` }
    // It is kept from those behind alone.
    if (keep === undefined || keep.place >= place || fit(room, demand, now) !== null) return null
    return { code: 'kept_for_other', message: `${node.hostname} is kept for the task ${keep.taskId}, which is ahead in the queue and would have to wait longer.` }
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
function summarise(reasons: readonly (WaitingReason | null)[], task: WaitingTask): WaitingReason | null {
  if (reasons.includes(null)) return null
  const having = (code: WaitingReason['code']) => reasons.filter((reason) => reason?.code === code)
  const [kept] = having('kept_for_other')
  if (kept) return kept
  const full = having('no_room').length
  const away = [...counted(having('offline').length, 'offline'), ...counted(having('drained').length, 'drained')].join(' and ')
  if (full > 0) return { code: 'no_room', message: `Waits for ${describeRequest(task)}.${away ? ` (${away}.)` : ''}` }
  if (away) return { code: having('offline').length > 0 ? 'offline' : 'drained', message: `Of the nodes that could run it, ${away}.` }
  const [first] = reasons
  return { code: first?.code ?? 'too_small', message: `No node could run it. ${first?.message ?? ''}` }
}

function counted(count: number, what: string): string[] {
  return count === 0 ? [] : [`${count} ${count === 1 ? 'is' : 'are'} ${what}`]
}
