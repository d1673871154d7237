import { errorMessage } from '#core/errors.ts'
import { takeIndexes } from '#core/tasks/index-set.ts'
import type { Verifications } from '../environments/verifications.ts'
import type { Nodes } from '../nodes/nodes.ts'
import { createPlanner } from '../scheduler/plan.ts'
import type { Placement, Plan, PlanInput } from '../scheduler/types.ts'
import { waitFor } from '../wait-for.ts'
import { makeItem } from './items.ts'
import { MISSING_AGAIN_MS, type VersionLoads, type VersionName } from './load-bytes.ts'
import { createPace } from './pace.ts'
import { type BuiltInput, createPlanInputs, type PlanInputsOptions } from './plan-input.ts'
import type { TaskRecord } from './task-record.ts'
import type { TaskStore } from './task-store.ts'

/** Gives what waits to nodes, whenever something has changed. */
export interface Placing {
  /** Plans again, soon, and once for all who ask meanwhile. */
  soon(): void
  /** The same, with less of a hurry: nothing has become free. */
  later(): void
  /** The last plan, if there was one. */
  plan(): Plan | undefined
  /** What a plan would be made of now. */
  input(): PlanInput
  /** A version is suspected, or is so no longer. */
  versionsChanged(): void
  close(): void
}

export interface PlacingOptions extends Omit<PlanInputsOptions, 'store' | 'nodes' | 'loadBytes' | 'troubleOf'> {
  store: TaskStore
  nodes: Pick<Nodes, 'list' | 'find'>
  loads: VersionLoads
  verifications: Pick<Verifications, 'events'>
  /** Ends what waits and can not run any more. */
  fail(id: string, message: string): Promise<unknown>
}

/** The storage may be slow, and nodes are chosen without knowing what they lack then. */
const PREPARE_MS = 1000
/** A timer can not wait longer, and the clock may be set meanwhile. */
const LONGEST_WAIT_MS = 60_000
const TROUBLE_MS = 5000

export function createPlacing({ store, nodes, loads, verifications, fail, ...blocked }: PlacingOptions): Placing {
  const planner = createPlanner()
  const inputs = createPlanInputs({ store, nodes, loadBytes: loads, troubleOf: loads.troubleOf, ...blocked })
  let current: Plan | undefined
  let isClosed = false
  let timer: NodeJS.Timeout | undefined

  let cost = 0

  /** What happens in one go, and is counted. */
  function costing<T>(work: () => T): T {
    const began = performance.now()
    try {
      return work()
    } finally {
      cost += performance.now() - began
    }
  }

  const build = () => costing(() => inputs.build(Date.now()))

  async function place(): Promise<void> {
    const planned = await planNow()
    if (!planned) return
    const { built, plan } = planned
    current = plan
    await Promise.all([...groupByTask(plan.placements)].map(([id, placements]) => assign(built.taskOf(id), placements)))
    if (plan.isCut) pace.soon()
    wakeAt(built)
  }

  /** Gives no node a version that is not in the storage: somebody may have moved it away since it was read. */
  async function planNow(): Promise<{ built: BuiltInput; plan: Plan } | undefined> {
    const began = performance.now()
    let built = await buildNow()
    for (;;) {
      if (isClosed) return undefined
      const { input } = built
      const plan = costing(() => planner.plan(input))
      let hasLooked = false
      await waitFor(loads.confirm(versionsOf(plan, built), began).then((looked) => (hasLooked = looked)), PREPARE_MS)
      if (!hasLooked) return { built, plan }
      inputs.versionsRead()
      built = build()
    }
  }

  async function buildNow(): Promise<BuiltInput> {
    let built = build()
    if (built.newVersions.length > 0 || loads.isAnyMissing()) {
      await waitFor(loads.prepare(built.newVersions), PREPARE_MS)
      inputs.versionsRead()
      built = build()
    }
    for (const { id, message } of built.damaged) await fail(id, message)
    return built.damaged.length > 0 ? build() : built
  }

  /** Unless it has changed meanwhile, or its node is gone: then what was meant for it is free, and it is planned again. */
  async function assign(planned: TaskRecord | undefined, placements: readonly Placement[]): Promise<void> {
    const possible = placements.filter(({ node }) => nodes.find(node))
    const [first] = possible
    let given = 0
    if (planned?.items) {
      await store.place(planned.id, (batch) => {
        const taken = batch.wish === planned.wish && batch.target === planned.target ? takeItems(batch, possible) : undefined
        given = taken?.items.length ?? 0
        return taken
      }, 'host')
    } else if (planned && first) {
      await store.update(planned.id, (task) => {
        if (task !== planned) return undefined
        given = 1
        return toPlace(task, first)
      }, 'host')
    }
    if (given < placements.length) pace.soon()
  }

  /** One timer, for whoever is due next. */
  function wakeAt({ nextDue }: BuiltInput): void {
    clearTimeout(timer)
    const waitMs = Math.min(nextDue === null ? Infinity : nextDue - Date.now(), loads.isAnyMissing() ? MISSING_AGAIN_MS : Infinity)
    if (waitMs !== Infinity && !isClosed) timer = setTimeout(pace.soon, Math.min(Math.max(0, waitMs), LONGEST_WAIT_MS))
  }

  const pace = createPace(async () => {
    cost = 0
    try {
      await place()
    } catch (error) {
      console.error(`[hakuriver] [queue] placing tasks failed, and is tried again: ${errorMessage(error)}`)
      timer = setTimeout(pace.soon, TROUBLE_MS)
    }
    return cost
  })

  function onVerdict(): void {
    inputs.versionsChanged()
    pace.soon()
  }

  verifications.events.on('verdict', onVerdict)
  return {
    soon: pace.soon,
    later: pace.later,
    plan: () => current,
    input: () => inputs.build(Date.now()).input,
    versionsChanged: inputs.versionsChanged,
    close() {
      isClosed = true
      pace.close()
      clearTimeout(timer)
      verifications.events.off('verdict', onVerdict)
    },
  }
}

// --- internal ---

function groupByTask(placements: readonly Placement[]): Map<string, Placement[]> {
  const groups = new Map<string, Placement[]>()
  for (const placement of placements) {
    const group = groups.get(placement.taskId)
    if (group) group.push(placement)
    else groups.set(placement.taskId, [placement])
  }
  return groups
}

/** What nodes are to be given. */
function versionsOf({ placements }: Plan, { taskOf }: BuiltInput): VersionName[] {
  const tasks = new Set(placements.map(({ taskId }) => taskOf(taskId)))
  return [...tasks].flatMap((task) => (task && task.environment !== null && task.version !== null ? [{ environment: task.environment, version: task.version }] : []))
}

function toPlace(task: TaskRecord, { node, gpuIds, numaNode }: Placement): Partial<TaskRecord> {
  return { state: 'assigned', node, gpuIds, numaNode, instance: task.instance + 1, notBefore: null, message: null }
}

/** The first of a batch that wait get rows and nodes. */
function takeItems(batch: TaskRecord, placements: readonly Placement[]): { batch: Partial<TaskRecord>; items: TaskRecord[] } | undefined {
  const { items } = batch
  if (!items) return undefined
  const { taken, rest } = takeIndexes(items.pending, placements.length)
  if (taken.length === 0) return undefined
  const rows = taken.flatMap((index, nth) => {
    const placement = placements[nth]
    if (!placement) return []
    const item = makeItem(batch, items, index)
    return [{ ...item, ...toPlace(item, placement) }]
  })
  return { batch: { items: { ...items, pending: rest } }, items: rows }
}
