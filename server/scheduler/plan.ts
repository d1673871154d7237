/** Placement as a pure function: data in, decisions and reasons out. Knows nothing of Runners, databases or clocks. */

export interface WaitingTask {
  id: string
  /** The node it must run on; `null`: any. */
  target: string | null
  cores: number
  /** Bytes; `null` reserves nothing. */
  memoryBytes: number | null
}

export interface NodeCapacity {
  hostname: string
  online: boolean
  cores: number
  memoryBytes: number
  coresReserved: number
  memoryReservedBytes: number
}

export interface Plan {
  placements: { taskId: string; node: string }[]
  /** Why each of the others waits. */
  waiting: { taskId: string; reason: string }[]
}

/**
 * First in, first out: a task that has to wait also keeps every node it could use from those behind it, so that nobody
 * overtakes it there; tasks for other nodes go on.
 *
 * @param waiting in the order of their submission
 */
export function planPlacements(waiting: readonly WaitingTask[], nodes: readonly NodeCapacity[]): Plan {
  const free = nodes.map((node) => ({ ...node }))
  const held = new Set<string>()
  const plan: Plan = { placements: [], waiting: [] }
  for (const task of waiting) {
    const candidates = free.filter((node) => task.target === null || node.hostname === task.target)
    const fitting = candidates.filter((node) => node.online && !held.has(node.hostname) && fits(task, node))
    const chosen = fitting.sort(byMostFree)[0]
    if (chosen) {
      chosen.coresReserved += task.cores
      chosen.memoryReservedBytes += task.memoryBytes ?? 0
      plan.placements.push({ taskId: task.id, node: chosen.hostname })
      continue
    }
    for (const node of candidates) if (couldEverFit(task, node)) held.add(node.hostname)
    plan.waiting.push({ taskId: task.id, reason: waitingReason(task, candidates) })
  }
  return plan
}

/** Whether the node could run the task if nothing else ran there. */
export function couldEverFit(task: Pick<WaitingTask, 'cores' | 'memoryBytes'>, node: Pick<NodeCapacity, 'cores' | 'memoryBytes'>): boolean {
  return task.cores <= node.cores && (task.memoryBytes ?? 0) <= node.memoryBytes
}

// --- internal ---

function fits(task: WaitingTask, node: NodeCapacity): boolean {
  return task.cores <= node.cores - node.coresReserved && (task.memoryBytes ?? 0) <= node.memoryBytes - node.memoryReservedBytes
}

/** Spreads the load; ties by name, so that a plan is the same each time. */
function byMostFree(left: NodeCapacity, right: NodeCapacity): number {
  return right.cores - right.coresReserved - (left.cores - left.coresReserved) || left.hostname.localeCompare(right.hostname)
}

function waitingReason(task: WaitingTask, candidates: readonly NodeCapacity[]): string {
  if (candidates.length === 0) return task.target === null ? 'No node has registered yet.' : `The node ${task.target} is not known.`
  const online = candidates.filter((node) => node.online)
  if (online.length === 0) return task.target === null ? 'All nodes are offline.' : `The node ${task.target} is offline.`
  return `Waits for ${task.cores} free ${task.cores === 1 ? 'core' : 'cores'}${task.memoryBytes === null ? '' : ' and memory'}${task.target === null ? '' : ` on ${task.target}`}.`
}
