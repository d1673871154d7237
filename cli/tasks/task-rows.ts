import type { Task } from '#core/api/schemas.ts'
import { formatTime } from '../framework/output.ts'
import { endedCount } from './task-view.ts'

export const TASK_HEADER = ['ID', 'STATE', 'EXIT', 'NODE', 'ENVIRONMENT', 'USER', 'SUBMITTED', 'COMMAND']

/** A task in a row of a table. */
export function taskRow(task: Task): (string | number | null)[] {
  return [task.id, stateCell(task), task.exitCode, task.node, task.environment, task.submitter, formatTime(task.submitted), commandCell(task)]
}

// --- internal ---

function stateCell({ state, wish, items }: Task): string {
  if (!items) return wish === 'hold' ? `${state} (held)` : state
  return `${state} (${endedCount(items.counts)}/${items.size})`
}

function commandCell({ name, command }: Task): string {
  const text = command.join(' ').slice(0, 60)
  return name ? `${name}: ${text}` : text
}
