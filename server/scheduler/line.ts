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
}

/** The queue as a planner knows it. */
export interface Line {
  readonly entries: readonly Entry[]
  /**
   * In step with `entries`, since reaching for ten thousand of them in each pass would cost more than all else: so many
   * cores must have become free on a node for the entry to be looked at. Below 0: it is always looked at.
   */
  readonly thresholds: number[]
  /** In step with `entries` too. */
  readonly demands: readonly Demand[]
  find(taskId: string): Entry | undefined
  /** Takes over what is another object than before. Answers the entries that are gone, or `null` if the order of others has changed. */
  update(waiting: readonly WaitingTask[]): Entry[] | null
}

export function createLine(waiting: readonly WaitingTask[]): Line {
  const known = createDemands()
  const byId = new Map<string, Entry>()
  const tasks: WaitingTask[] = []
  const entries: Entry[] = []
  const thresholds: number[] = []
  const demands: Demand[] = []

  function insert(place: number, task: WaitingTask): void {
    const mayStart = task.count > 0 && task.blocked.length === 0
    const demand = known.of(task)
    const entry = { task, demand, mayStart, isJudged: false, kept: undefined }
    byId.set(task.id, entry)
    insertAt(tasks, place, task)
    insertAt(entries, place, entry)
    insertAt(thresholds, place, mayStart ? -1 : NEVER)
    insertAt(demands, place, demand)
  }

  function remove(place: number, count: number): Entry[] {
    tasks.splice(place, count)
    thresholds.splice(place, count)
    demands.splice(place, count)
    return entries.splice(place, count)
  }

  function update(current: readonly WaitingTask[]): Entry[] | null {
    const gone: Entry[] = []
    let place = 0
    for (const task of current) {
      if (tasks[place] !== task) {
        if (byId.get(task.id)?.task === task) {
          // What stood between is gone. What is not found behind has come forward: the order has changed.
          const found = tasks.indexOf(task, place)
          if (found < 0) return null
          gone.push(...remove(place, found - place))
        } else insert(place, task)
      }
      place++
    }
    gone.push(...remove(place, tasks.length - place))
    for (const entry of gone) if (byId.get(entry.task.id) === entry) byId.delete(entry.task.id)
    known.prune(entries)
    return gone
  }

  update(waiting)
  return { entries, thresholds, demands, find: (taskId) => byId.get(taskId), update }
}

// --- internal ---

const NEVER = 2 ** 30

/** Most come to the end of the queue, and there `splice` is slow. */
function insertAt<T>(list: T[], place: number, value: T): void {
  if (place === list.length) list.push(value)
  else list.splice(place, 0, value)
}
