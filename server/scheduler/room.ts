import type { Gpu } from '#core/api/schemas.ts'
import type { Demand } from './demand.ts'
import { chooseGpus, type GpuGroup, groupGpus } from './gpus.ts'
import type { Keep } from './keep.ts'
import type { NodeState, PlacedTask } from './types.ts'

/** What is free on a node, while a plan is made. */
export interface Room {
  node: NodeState
  /** Its place among all, by name. */
  readonly index: number
  /** It takes tasks. */
  isOpen: boolean
  /** Of the whole node. Below 0 where it has less than it promised, after a change of its hardware. */
  cores: number
  memory: number
  /** Of each NUMA node, of what is bound to it. */
  numa: Map<number, { cores: number; memory: number }>
  gpus: readonly GpuGroup[]
  gpuBytes: number
  placed: PlacedTask[]
  /** When the first of them ends for sure; `Infinity`: nobody knows. */
  firstEnd: number
  /** Those whose end is known, the first first, once somebody has asked. */
  ends: PlacedTask[] | undefined
  /** Grows with each change. */
  version: number
  /** For whom it is kept in this pass. */
  keep: Keep | undefined
  /** Given something in the last pass: whether it came to be so, the next input tells. */
  isStale: boolean
  /** The pass in which all that wait look at it again. */
  dirtyIn: number
}

export function createRoom(node: NodeState, index: number): Room {
  const room: Room = { node, index, isOpen: false, cores: 0, memory: 0, numa: new Map(), gpus: [], gpuBytes: 0, placed: [], firstEnd: Infinity, ends: undefined, version: 0, keep: undefined, isStale: false, dirtyIn: -1 }
  fillRoom(room, node)
  return room
}

/** Takes over what the node has now. */
export function fillRoom(room: Room, node: NodeState): void {
  room.node = node
  room.isOpen = node.online && !node.drained
  room.cores = node.cores
  room.memory = node.memoryBytes
  room.numa = new Map(node.numaNodes.map(({ id, cores, memoryBytes }) => [id, { cores, memory: memoryBytes }]))
  room.placed = [...node.placed]
  room.firstEnd = Infinity
  room.ends = undefined
  for (const task of room.placed) reserve(room, task)
  setGpus(room, node.gpus.filter(({ id }) => !room.placed.some(({ gpuIds }) => gpuIds.includes(id))))
  room.isStale = false
  room.version++
}

/** Gives a task its place. */
export function takeRoom(room: Room, task: PlacedTask): void {
  reserve(room, task)
  room.placed.push(task)
  if (task.gpuIds.length > 0) setGpus(room, room.gpus.flat().filter(({ id }) => !task.gpuIds.includes(id)))
  room.isStale = true
  room.version++
}

/** So many tasks a node has before it gets no more of those that reserve neither cores nor GPUs: each costs the Host and the node something. */
export function mostTasks({ cores }: Pick<NodeState, 'cores'>): number {
  return Math.max(LEAST_MOST_TASKS, TASKS_FOR_A_CORE * cores)
}

/** Whether the node has so many tasks that it takes none of this kind. */
export function isCrowded({ placed, node }: Room, { isLight }: Demand): boolean {
  return isLight && placed.length >= mostTasks(node)
}

/** Whether cores and memory are free for it, and not only tasks too many there. What asks for none fits even where there is less than none. */
export function hasCoresAndMemory(room: Room, demand: Demand): boolean {
  if (isCrowded(room, demand)) return false
  if ((demand.cores > room.cores && demand.cores > 0) || (demand.memory > room.memory && demand.memory > 0)) return false
  if (demand.numaNode === null) return true
  const numa = room.numa.get(demand.numaNode)
  return numa !== undefined && (demand.cores <= numa.cores || demand.cores === 0) && (demand.memory <= numa.memory || demand.memory === 0)
}

/** Whether the node takes such a task at all, were it empty. */
export function isFor(room: Room, demand: Demand): boolean {
  return room.isOpen && (!demand.plain || room.node.plainProcesses) && (demand.target === null || demand.target === room.node.hostname)
}

/** Whether all that it asks for is free. */
export function hasRoom(room: Room, demand: Demand): boolean {
  return hasCoresAndMemory(room, demand) && chooseGpus(room.gpus, demand) !== null
}

// --- internal ---

const LEAST_MOST_TASKS = 64
const TASKS_FOR_A_CORE = 16

function reserve(room: Room, { cores, memoryBytes, numaNode, endsBy }: PlacedTask): void {
  room.ends = undefined
  room.firstEnd = Math.min(room.firstEnd, endsBy ?? Infinity)
  room.cores -= cores
  room.memory -= memoryBytes ?? 0
  const numa = numaNode === null ? undefined : room.numa.get(numaNode)
  if (!numa) return
  numa.cores -= cores
  numa.memory -= memoryBytes ?? 0
}

function setGpus(room: Room, free: readonly Gpu[]): void {
  room.gpus = groupGpus(free)
  room.gpuBytes = free.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)
}
