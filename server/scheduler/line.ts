import { createDemands, type Demand } from './demand.ts'
import type { Room } from './room.ts'
import type { WaitingTask } from './types.ts'

/** A task in the queue as a planner knows it, from pass to pass. */
export interface Entry {
  task: WaitingTask
  demand: Demand
  mayStart: boolean
  /** No node had room for it when it was last looked at: only nodes that have changed since may. */
  isJudged: boolean
  /** The node that was kept for it in the last pass. */
  kept: Room | undefined
  /** As in its demand: they are read of each entry in each pass, and one object less has to be reached for. */
  target: string | null
  cores: number
  memory: number
  gpus: number
}

/** The queue as a planner knows it. */
export interface Line {
  readonly entries: readonly Entry[]
  find(taskId: string): Entry | undefined
  /** Takes over what is another object than before. Answers the entries that are gone, or `null` if the order of others has changed. */
  update(waiting: readonly WaitingTask[]): Entry[] | null
}

export function createLine(waiting: readonly WaitingTask[]): Line {
  const demands = createDemands()
  const byId = new Map<string, Entry>()
  let entries: Entry[] = []
  let before: Entry[] = []
  let tasksBefore: readonly WaitingTask[] = []

  function enter(task: WaitingTask): Entry {
    const demand = demands.of(task)
    const { target, cores, memory, gpus } = demand
    const entry = { task, demand, mayStart: task.count > 0 && task.blocked.length === 0, isJudged: false, kept: undefined, target, cores, memory, gpus }
    byId.set(task.id, entry)
    return entry
  }

  function update(current: readonly WaitingTask[]): Entry[] | null {
    [before, entries] = [entries, before]
    entries.length = 0
    const gone: Entry[] = []
    let next = 0
    for (const task of current) {
      const isNext = tasksBefore[next] === task
      const known = isNext ? before[next] : byId.get(task.id)
      if (!known || (!isNext && known.task !== task)) {
        entries.push(enter(task))
        continue
      }
      // What stood between is gone. What is not found behind has come forward: the order has changed.
      const from = isNext ? next : tasksBefore.indexOf(task, next)
      if (from < 0) return null
      if (from > next) gone.push(...before.slice(next, from))
      next = from + 1
      entries.push(known)
    }
    gone.push(...before.slice(next))
    tasksBefore = [...current]
    for (const entry of gone) if (byId.get(entry.task.id) === entry) byId.delete(entry.task.id)
    demands.prune(entries)
    return gone
  }

  update(waiting)
  return {
    get entries() {
      return entries
    },
    find: (taskId) => byId.get(taskId),
    update,
  }
}
