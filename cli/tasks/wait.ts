import type { Task } from '#core/api/schemas.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import type { HostClient } from '../framework/connection.ts'
import { exitCodes } from '../framework/exit-codes.ts'
import { createLimit } from '../framework/limit.ts'
import { localTimes, print, printError, tell } from '../framework/output.ts'
import { isLinkError } from '../framework/rejoin.ts'
import { copyBatchOutput, labelOf, withLabel } from './batch-output.ts'
import { type DetachGuard, guardDetach, howToComeBack } from './detach.ts'
import { followTask, type OutputWriters, waitForEnd } from './follow.ts'

/** Each task holds two connections. */
const TASKS_AT_ONCE = 16

export interface WaitOptions {
  /** Whether their output goes to ours; of several, and of a batch, by lines with a label. */
  output: boolean
  /** Hears of each task until it runs, and of batches until they have ended. */
  onTask?: (task: Task) => void
  /** Hears of each task that has ended, in that order. */
  onEnd?: (task: Task) => Promise<void>
}

/**
 * Waits for the end of tasks. Ctrl-C asks, or leaves them running and says so.
 *
 * @returns the ended tasks, in the given order
 */
export function waitForTasks(client: HostClient, tasks: readonly Task[], options: WaitOptions): Promise<Task[]> {
  const limit = createLimit(TASKS_AT_ONCE)
  const untilEnd = async () => {
    for (const { id } of tasks) await waitForEnd(client, id, { reached: true })
  }
  return guarded(client, tasks, (guard) => Promise.all(tasks.map((task) => limit(async () => {
    const ended = await waitForTask(client, task, { ...options, label: tasks.length > 1 }, guard)
    await guard.quiet()
    await options.onEnd?.(ended)
    return ended
  }))), untilEnd)
}

/** The first of tasks to end, alone. */
export function waitForFirst(client: HostClient, tasks: readonly Task[], options: WaitOptions): Promise<Task[]> {
  return guarded(client, tasks, async (guard) => {
    const first = await Promise.race(tasks.map((task) => waitForTask(client, task, { ...options, label: true }, guard)))
    guard.over()
    await options.onEnd?.(first)
    return [first]
  })
}

/** The exit code of an ended task: its own, or 1 where it has none. */
export function taskExitCode(task: Pick<Task, 'state' | 'exitCode'>): number {
  return task.state === 'succeeded' ? exitCodes.ok : task.exitCode || exitCodes.failed
}

/** The highest exit code of all; says of each that did not succeed why, in a line that is told apart from what tasks print. Objects say it themselves. */
export function concludeTasks(tasks: readonly Task[], { json }: { json: boolean }): number {
  for (const task of json ? [] : tasks) {
    if (task.state !== 'succeeded') tell(`hakuriver: ${task.items ? 'batch' : 'task'} ${task.id} ${stateText(task.state)}${task.message ? `: ${localTimes(task.message)}` : '.'}`)
  }
  return Math.max(exitCodes.ok, ...tasks.map(taskExitCode))
}

/** Writes output of tasks to ours, byte for byte; nothing comes over a question of `guard`. */
export function ownOutputs(guard?: DetachGuard): Record<OutputChannel, (chunk: Buffer) => Promise<void>> {
  return {
    async stdout(chunk) {
      await guard?.quiet()
      await print(chunk)
    },
    async stderr(chunk) {
      await guard?.quiet()
      await printError(chunk)
    },
  }
}

/** A task is tried again while its output is shown. */
export function tellExecution(id: string): (instance: number) => void {
  return (instance) => tell(`Task ${id} is tried again: this is execution ${instance}.`)
}

// --- internal ---

/** Whoever waits in vain for a Host that stays away learns how to go on. */
async function guarded<T>(client: HostClient, tasks: readonly Task[], wait: (guard: DetachGuard) => Promise<T>, untilEnd?: () => Promise<unknown>): Promise<T> {
  const ids = tasks.map(({ id }) => id)
  const guard = guardDetach(client, ids, untilEnd)
  try {
    return await wait(guard)
  } catch (error) {
    if (isLinkError(error)) tell(howToComeBack(ids))
    throw error
  } finally {
    guard.release()
  }
}

function waitForTask(client: HostClient, task: Task, { output, label, onTask: hear }: WaitOptions & { label: boolean }, guard: DetachGuard): Promise<Task> {
  const { id, items } = task
  const onTask = hear && ((now: Task) => {
    if (!guard.isAsking) hear(now)
  })
  if (!output) return waitForEnd(client, id, { reached: true, onTask })
  const writers = ownOutputs(guard)
  if (items !== null) return copyBatchOutput(client, id, { writers, follow: true, range: {}, onTask })
  const follow = (own: OutputWriters) => followTask(client, id, { writers: own, onTask, onExecution: tellExecution(id) })
  return label ? withLabel(labelOf(task), writers, follow) : follow(writers)
}

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
