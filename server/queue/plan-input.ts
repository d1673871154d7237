import { countIndexes } from '#core/tasks/index-set.ts'
import type { NodeRecord, Nodes } from '../nodes/nodes.ts'
import type { LoadBytes, NodeState, PlanInput, WaitingTask } from '../scheduler/types.ts'
import { type BatchTally, placedItems } from './batch-counts.ts'
import { blockedBy, type BlockedOptions, limitReason } from './blocked.ts'
import { requestOf } from './check-submission.ts'
import { type VersionName, versionKey } from './load-bytes.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** What the planner is given. What has not changed since the last time is the same object. */
export interface PlanInputs {
  build(now: number): BuiltInput
  /** What is known of versions has changed. */
  versionsChanged(): void
  /** All versions that {@link BuiltInput.newVersions} told of were read. */
  versionsRead(): void
}

export interface BuiltInput {
  input: PlanInput
  /** What waits, until the next is built. */
  taskOf(id: string): TaskRecord | undefined
  /** Those of a version that is damaged for good. */
  damaged: { id: string; message: string }[]
  /** Versions of tasks that nobody has read yet. */
  newVersions: VersionName[]
  /** When the next of them is due, Unix milliseconds; `null`: all are. */
  nextDue: number | null
}

export interface PlanInputsOptions extends BlockedOptions {
  store: Pick<TaskStore, 'live' | 'tallyOf'>
  nodes: Pick<Nodes, 'list'>
  loadBytes: LoadBytes
}

export function createPlanInputs({ store, nodes, loadBytes, ...blocked }: PlanInputsOptions): PlanInputs {
  const known = new Map<string, Known>()
  /** As they stood the last time. */
  let lined: Known[] = []
  let states = new Map<string, NodeState>()
  const unread = new Map<string, VersionName>()
  let haveVersionsChanged = false

  function look(task: TaskRecord, before: Known | undefined, { now, left }: { now: number; left: Map<string, number> }): Known {
    const batchId = task.items ? task.id : task.batch
    const lost = batchId === null || task.parallel === null ? [] : store.live.lostOf(batchId)
    const allowed = batchId === null || task.parallel === null ? Infinity : (left.get(batchId) ?? freeOf(task.parallel, store.tallyOf(batchId), lost.length))
    const reasons = blockedBy(task, now, blocked)
    const wanted = task.items ? countIndexes(task.items.pending) : 1
    const count = reasons.length > 0 ? 0 : Math.min(wanted, allowed)
    if (batchId !== null) left.set(batchId, allowed - count)
    const all = count === 0 && reasons.length === 0 && task.parallel !== null ? [limitReason(task.parallel, lost)] : reasons
    const isLasting = task.after.length === 0 && task.parallel === null && (task.notBefore === null || task.notBefore <= now)
    if (before?.task === task && before.waiting.count === count && isSame(before.waiting.blocked, all)) return { ...before, isLasting }
    return { task, isLasting, place: 0, waiting: { ...requestOf(task, task.target), id: task.id, count, version: keyOf(task), timeLimitSeconds: task.timeLimitSeconds, blocked: all } }
  }

  /** Those that have left the queue. */
  function forget(): void {
    for (const [id, { place }] of known) if (lined[place]?.task.id !== id) known.delete(id)
  }

  function toState(node: NodeRecord): NodeState {
    const { hostname, online, cores, memoryBytes, numaNodes, gpus, plainProcesses } = node
    const state: NodeState = { hostname, online, drained: node.drained, cores, memoryBytes, numaNodes, gpus, plainProcesses, placed: store.live.reservations.on(hostname) }
    const before = states.get(hostname)
    return before && stateKeys.every((key) => before[key] === state[key]) ? before : state
  }

  return {
    versionsChanged() {
      haveVersionsChanged = true
    },
    versionsRead() {
      unread.clear()
      haveVersionsChanged = true
    },
    build(now) {
      const left = new Map<string, number>()
      const built: Omit<BuiltInput, 'input'> = { taskOf: (id) => known.get(id)?.task, damaged: [], newVersions: [], nextDue: null }
      const next: Known[] = []
      // Most stand behind the same one as before: those are found without looking them up.
      let expected = 0
      const waiting = store.live.waiting().map((task) => {
        const before = lined[expected]?.task.id === task.id ? lined[expected] : known.get(task.id)
        if (before) expected = before.place + 1
        const found = before?.task === task && before.isLasting && !haveVersionsChanged ? before : look(task, before, { now, left })
        const { version } = found.waiting
        if (!before && version !== null && task.environment !== null && task.version !== null && !loadBytes.get(version)) unread.set(version, { environment: task.environment, version: task.version })
        const { waiting: made } = found
        const damage = made.blocked.find(({ code }) => code === 'environment_damaged')
        if (damage) built.damaged.push({ id: task.id, message: damage.message })
        if (task.notBefore !== null && task.notBefore > now) built.nextDue = Math.min(built.nextDue ?? Infinity, task.notBefore)
        if (found !== before) known.set(task.id, found)
        next.push(found)
        return made
      })
      for (const [place, found] of next.entries()) found.place = place
      lined = next
      if (known.size > lined.length) forget()
      haveVersionsChanged = false
      const nodeStates = nodes.list().map(toState)
      states = new Map(nodeStates.map((state) => [state.hostname, state]))
      return { ...built, newVersions: [...unread.values()], input: { waiting, nodes: nodeStates, loadBytes, now, mostPlacements: MOST_PLACEMENTS } }
    },
  }
}

// --- internal ---

/** Of one plan: each is a row and an order, and the Host does other things before it goes on. */
const MOST_PLACEMENTS = 1000

interface Known {
  task: TaskRecord
  waiting: WaitingTask
  /** In the queue. */
  place: number
  /** Nothing but another record, or what is known of versions, can make it different. */
  isLasting: boolean
}

const stateKeys = ['online', 'drained', 'cores', 'memoryBytes', 'numaNodes', 'gpus', 'plainProcesses', 'placed'] as const satisfies readonly (keyof NodeState)[]

function keyOf({ environment, version }: TaskRecord): string | null {
  return environment === null || version === null ? null : versionKey({ environment, version })
}

/** `lost`: so many may still run, and come back with their nodes. */
function freeOf(parallel: number, tally: BatchTally | undefined, lost: number): number {
  return Math.max(0, parallel - (tally ? placedItems(tally) : 0) - lost)
}

function isSame(left: WaitingTask['blocked'], right: WaitingTask['blocked']): boolean {
  return left === right || (left.length === right.length && left.every(({ code, message }, index) => code === right[index]?.code && message === right[index].message))
}
