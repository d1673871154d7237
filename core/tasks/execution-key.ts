import type { Execution } from '../api/schemas.ts'

/** One execution of a task as a key for maps and sets: another execution of the same task has another. */
export function executionKey({ id, instance }: Execution): string {
  return `${id}-${instance}`
}
