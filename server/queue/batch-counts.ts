import { countIndexes } from '#core/tasks/index-set.ts'
import { holdsResources, isFinal, stateWords, type TaskState, taskStates } from '#core/tasks/states.ts'
import type { BatchRecord, StateCounts, TaskRecord } from './task-record.ts'

/** How many of a batch's items that have a row are in which state and ended with which code: counted on, never counted again. */
export interface BatchTally {
  states: Map<TaskState, number>
  exits: Map<number, number>
}

export function createTally(): BatchTally {
  return { states: new Map(), exits: new Map() }
}

/** Takes in that a row changed, or (without `before`) came to be. */
export function countChange(tally: BatchTally, before: Pick<TaskRecord, 'state' | 'exitCode'> | undefined, after: Pick<TaskRecord, 'state' | 'exitCode'>, rows = 1): void {
  if (before) {
    add(tally.states, before.state, -rows)
    if (before.exitCode !== null) add(tally.exits, before.exitCode, -rows)
  }
  add(tally.states, after.state, rows)
  if (after.exitCode !== null) add(tally.exits, after.exitCode, rows)
}

export function countRows({ states }: BatchTally): number {
  return [...states.values()].reduce((sum, count) => sum + count, 0)
}

/** All items by their states, those without a row too. */
export function countsOf(items: BatchRecord, tally: BatchTally): StateCounts {
  const pending = countIndexes(items.pending)
  const all = new Map(tally.states)
  add(all, 'queued', pending)
  add(all, items.unplaced ?? 'killed', items.size - pending - countRows(tally))
  return Object.fromEntries(taskStates.flatMap((state) => (all.has(state) ? [[state, all.get(state)]] : []))) as StateCounts
}

/** Whether any of the items has not ended. */
export function goesOn(items: BatchRecord, { states }: BatchTally): boolean {
  if (items.pending.length > 0) return true
  for (const state of states.keys()) if (!isFinal(state)) return true
  return false
}

/** Items that a node was given. */
export function placedItems(tally: BatchTally): number {
  return [...tally.states].reduce((sum, [state, count]) => sum + (holdsResources(state) ? count : 0), 0)
}

/** What a batch is, by its items. */
export function batchOutcome(batch: TaskRecord, items: BatchRecord, tally: BatchTally): Pick<TaskRecord, 'state' | 'reason' | 'message' | 'exitCode'> {
  const counts = countsOf(items, tally)
  const states = Object.keys(counts) as TaskState[]
  if (states.some((state) => !isFinal(state))) {
    // After a retry of all it begins again.
    const hasBegun = placedItems(tally) > 0 || batch.state === 'running'
    return { state: hasBegun ? 'running' : 'queued', reason: null, message: null, exitCode: null }
  }
  // It ended before any of them was looked at by itself.
  if (tally.states.size === 0) return { state: items.unplaced ?? 'killed', reason: batch.reason, message: batch.message, exitCode: null }
  const exitCode = tally.exits.size === 0 ? null : Math.max(...tally.exits.keys())
  const unsuccessful = states.filter((state) => state !== 'succeeded')
  if (unsuccessful.length === 0) return { state: 'succeeded', reason: null, message: null, exitCode }
  // What may come back decides whether the batch may.
  const state = counts.lost ? 'lost' : unsuccessful.length === 1 ? (unsuccessful[0] ?? 'failed') : 'failed'
  if (state === 'killed' && batch.wish === 'kill') return { state, reason: 'user', message: null, exitCode }
  const missed = unsuccessful.reduce((sum, each) => sum + (counts[each] ?? 0), 0)
  const words = unsuccessful.map((each) => `${counts[each]} ${stateWords(each)}`).join(', ')
  return { state, reason: 'items', message: `${missed} of ${items.size} items did not succeed: ${words}.`, exitCode }
}

// --- internal ---

function add<K>(counts: Map<K, number>, key: K, amount: number): void {
  const sum = (counts.get(key) ?? 0) + amount
  if (sum === 0) counts.delete(key)
  else counts.set(key, sum)
}
