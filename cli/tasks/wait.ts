import { once } from 'node:events'
import type { Task } from '#core/api/schemas.ts'
import type { HostClient } from '../framework/connection.ts'
import { exitCodes } from '../framework/exit-codes.ts'
import { leave, onInterrupt } from '../framework/interrupts.ts'
import { print, tell } from '../framework/output.ts'
import { copyOutput, waitForEnd } from './output.ts'

/** Each task holds two connections. */
const TASKS_AT_ONCE = 16

export interface WaitOptions {
  quiet: boolean
  /** Hears of each task until it runs. */
  onTask?: (task: Task) => void
}

/**
 * Waits for the end of tasks, with their output on ours unless `quiet`. Ctrl-C leaves them running and says so.
 *
 * @returns the ended tasks, in the given order
 */
export async function waitForTasks(client: HostClient, ids: string[], { quiet, onTask }: WaitOptions): Promise<Task[]> {
  const release = onInterrupt(() => {
    tell(ids.length === 1 ? `The task goes on. End it with: hakuriver task kill ${ids[0]}` : `The tasks go on. End one with: hakuriver task kill ID`)
    leave()
  })
  try {
    return await mapLimited(ids, TASKS_AT_ONCE, async (id) => {
      if (!quiet) await Promise.all([copyOutput(client, id, 'stdout', { follow: true, reached: true, write: print }), copyOutput(client, id, 'stderr', { follow: true, reached: true, write: printError })])
      return waitForEnd(client, id, { reached: true, ...(onTask && { onTask }) })
    })
  } finally {
    release()
  }
}

/** The exit code of an ended task: its own, or 1 where it has none. */
export function taskExitCode(task: Pick<Task, 'state' | 'exitCode'>): number {
  return task.state === 'succeeded' ? exitCodes.ok : task.exitCode || exitCodes.failed
}

/** The highest exit code of all; says why for those that did not just exit. */
export function concludeTasks(tasks: Task[]): number {
  for (const task of tasks) {
    if (task.state !== 'succeeded' && task.reason !== 'exited') tell(`Task ${task.id} ${stateText(task.state)}${task.message ? `: ${task.message}` : '.'}`)
  }
  return Math.max(exitCodes.ok, ...tasks.map(taskExitCode))
}

// --- internal ---

function stateText(state: Task['state']): string {
  switch (state) {
    case 'killed':
      return 'was killed'
    case 'lost':
      return 'is lost'
    case 'out_of_memory':
      return 'ran out of memory'
    case 'timed_out':
      return 'timed out'
    default:
      return state
  }
}

async function printError(chunk: Buffer): Promise<void> {
  if (!process.stderr.write(chunk)) await once(process.stderr, 'drain')
}

async function mapLimited<T, R>(items: T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const queue = [...items.entries()]
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) results[next[0]] = await work(next[1])
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  return results
}
