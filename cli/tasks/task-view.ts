import type { BatchItems, Task } from '#core/api/schemas.ts'
import { isFinal, type TaskState, taskStates } from '#core/tasks/states.ts'
import { localTimes } from '../framework/output.ts'
import { createProgressView } from '../operations/progress.ts'

type Counted = Pick<BatchItems, 'size' | 'counts'>

/** Shows on standard error how tasks that are waited for come along: at a terminal all of it, elsewhere only the load of a version. */
export function createTaskView(): { onTask(task: Task): void; end(): void } {
  const view = createProgressView(process.stderr)
  const seen = new Map<string, TaskState>()
  return {
    onTask(task) {
      seen.set(task.id, task.state)
      if (task.sync && seen.size === 1) view.update({ phase: 'syncing', bytes: task.sync.bytes, totalBytes: task.sync.totalBytes, message: '' })
      else if (process.stderr.isTTY) view.update({ ...NO_BYTES, phase: seen.size > 1 ? 'waiting' : task.state, message: seen.size > 1 ? countsText(countStates(seen)) : task.items ? countsText(task.items) : localTimes(task.message ?? '') })
    },
    end: view.end,
  }
}

/** `37 of 1000 ended (2 failed), 16 running` */
export function countsText({ size, counts }: Counted): string {
  const present = taskStates.map((state) => ({ state, count: counts[state] ?? 0 })).filter(({ count }) => count > 0)
  const ended = present.filter(({ state }) => isFinal(state))
  const bad = ended.filter(({ state }) => state !== 'succeeded').map(({ state, count }) => `${count} ${state}`)
  const live = present.filter(({ state }) => !isFinal(state)).map(({ state, count }) => `${count} ${state}`)
  return [`${endedCount(counts)} of ${size} ended${bad.length > 0 ? ` (${bad.join(', ')})` : ''}`, ...live].join(', ')
}

/** How many items have ended. */
export function endedCount(counts: Counted['counts']): number {
  return taskStates.filter(isFinal).reduce((sum, state) => sum + (counts[state] ?? 0), 0)
}

// --- internal ---

const NO_BYTES = { bytes: null, totalBytes: null } as const

function countStates(seen: ReadonlyMap<string, TaskState>): Counted {
  const counts: Counted['counts'] = {}
  for (const state of seen.values()) counts[state] = (counts[state] ?? 0) + 1
  return { size: seen.size, counts }
}
