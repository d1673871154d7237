import { createDemands, type Demand } from './demand.ts'
import type { Keep } from './keep.ts'
import type { WaitingTask } from './types.ts'

/** A task in the queue as a planner knows it, from pass to pass. */
export interface Entry {
  task: WaitingTask
  demand: Demand
  mayStart: boolean
  /** No node had room for it when it was last looked at: only nodes that have changed since may. */
  isJudged: boolean
  /** The node that was kept for it in the last pass. */
  kept: Keep | undefined
}

/**
 * The queue as a planner knows it. Its lists are in step, and in the order of the queue. Some places are empty: to close
 * each at once would move ten thousand others.
 */
export interface Line {
  readonly entries: readonly (Entry | undefined)[]
  /** What a node must have free for the entry to be looked at again, see {@link thresholdOf}: reaching for each would cost more than all else. */
  readonly thresholds: number[]
  readonly demands: readonly (Demand | undefined)[]
  find(taskId: string): Entry | undefined
  /** Takes over what is another object than before. Answers the entries that are gone, or `null` if the order of others has changed. */
  update(waiting: readonly WaitingTask[]): Entry[] | null
}

/** Of an entry that is looked at whatever has changed. */
export const ALWAYS = -1
/** Of a place where there is none, or one that may not start. */
export const NEVER = 2 ** 30

/** Cores and, as the lowest bit, whether it wants GPUs: these two keep most from being looked at. */
export function thresholdOf({ cores, gpus }: Demand): number {
  return 2 * cores + (gpus > 0 ? 1 : 0)
}

export function createLine(waiting: readonly WaitingTask[]): Line {
  const known = createDemands()
  const byId = new Map<string, Entry>()
  const tasks: (WaitingTask | undefined)[] = []
  const entries: (Entry | undefined)[] = []
  const thresholds: number[] = []
  const demands: (Demand | undefined)[] = []
  let empty = 0

  function put(place: number, task: WaitingTask): void {
    const demand = known.of(task)
    const mayStart = task.count > 0 && task.blocked.length === 0
    const entry = { task, demand, mayStart, isJudged: false, kept: undefined }
    byId.set(task.id, entry)
    tasks[place] = task
    entries[place] = entry
    thresholds[place] = mayStart ? ALWAYS : NEVER
    demands[place] = demand
  }

  function makePlace(place: number): void {
    tasks.splice(place, 0, undefined)
    entries.splice(place, 0, undefined)
    thresholds.splice(place, 0, NEVER)
    demands.splice(place, 0, undefined)
  }

  /** Empties places, and adds those who were there to `gone`. */
  function clear(from: number, to: number, gone: Entry[]): void {
    for (let place = from; place < to; place++) {
      const entry = entries[place]
      if (!entry) continue
      gone.push(entry)
      tasks[place] = entries[place] = demands[place] = undefined
      thresholds[place] = NEVER
      empty++
    }
  }

  function closeUp(): void {
    if (empty <= MOST_EMPTY && empty < tasks.length) return
    const isTaken = tasks.map((task) => task !== undefined)
    for (const list of [tasks, entries, thresholds, demands]) keepOnly(list, isTaken)
    empty = 0
  }

  function update(current: readonly WaitingTask[]): Entry[] | null {
    const gone: Entry[] = []
    let place = 0
    let next = 0
    while (next < current.length) {
      const same = equalLength({ tasks, place, current, next })
      place += same
      next += same
      const task = current[next++]
      if (!task) break
      while (place < tasks.length && tasks[place] === undefined) place++
      if (tasks[place] === task) {
        place++
        continue
      }
      const before = byId.get(task.id)
      if (before?.task === task) {
        // What stood between is gone. What is not found behind has come forward: the order has changed.
        const found = tasks.indexOf(task, place)
        if (found < 0) return null
        clear(place, found, gone)
        place = found + 1
        continue
      }
      if (before && entries[place] === before) {
        clear(place, place + 1, gone)
        empty--
      } else if (place < tasks.length) makePlace(place)
      put(place++, task)
    }
    clear(place, tasks.length, gone)
    for (const entry of gone) if (byId.get(entry.task.id) === entry) byId.delete(entry.task.id)
    closeUp()
    known.prune(byId)
    return gone
  }

  update(waiting)
  return { entries, thresholds, demands, find: (taskId) => byId.get(taskId), update }
}

// --- internal ---

const MOST_EMPTY = 500

/** So many are the same from here on. */
function equalLength({ tasks, place, current, next }: { tasks: readonly (WaitingTask | undefined)[]; place: number; current: readonly WaitingTask[]; next: number }): number {
  const most = Math.min(tasks.length - place, current.length - next)
  let length = 0
  while (length < most && tasks[place + length] === current[next + length]) length++
  return length
}

function keepOnly(list: unknown[], isKept: readonly boolean[]): void {
  let kept = 0
  for (const [place, value] of list.entries()) if (isKept[place]) list[kept++] = value
  list.length = kept
}
