import type { Task } from '#core/api/schemas.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { HostClient } from '../framework/connection.ts'
import { rejoin } from '../framework/rejoin.ts'
import { copyOutput, type OutputRange } from './output.ts'

/** The Host holds an answer this long at most; the client waits a little longer. */
const WAIT_SECONDS = 30
const WAIT_TIMEOUT_MS = 45_000

export type OutputWriters = Partial<Record<OutputChannel, (chunk: Buffer) => Promise<void>>>

/** Each output that is wanted, and where it goes. */
export function writersOf(writers: OutputWriters) {
  return Object.entries(writers) as [OutputChannel, (chunk: Buffer) => Promise<void>][]
}

export interface FollowOptions extends OutputRange {
  writers: OutputWriters
  onTask?: OnTask
  /** Hears of each execution after the first that is shown. */
  onExecution?: (instance: number) => void
}

/**
 * Hands on what a task prints until it has ended, execution after execution if it is tried again; of a single one if
 * `instance` is given.
 *
 * @returns the task, ended unless an earlier execution was meant
 */
export async function followTask(client: HostClient, id: string, { writers, onTask, onExecution, instance: wanted, offset, tail }: FollowOptions): Promise<Task> {
  const copies = writersOf(writers)
  const copy = (instance: number, range: OutputRange) => Promise.all(copies.map(([name, write]) => copyOutput(client, id, name, { ...range, instance, follow: true, reached: true, write })))
  if (wanted !== undefined) {
    await copy(wanted, { offset, tail })
    return client.call('getTask', { params: { id } })
  }
  let shown = 0
  for (;;) {
    const task = await waitForExecution(client, id, shown, onTask)
    if (task.instance <= shown) return task
    // Of what was before, only the last execution is shown; from then on none is left out.
    for (let instance = shown === 0 ? task.instance : shown + 1; instance <= task.instance; instance++) {
      if (shown > 0) onExecution?.(instance)
      await copy(instance, shown === 0 ? { offset, tail } : {})
      shown = instance
    }
  }
}

/** The task once it has ended, however long that takes. `onTask` hears of it each second until it runs, and of a batch until it has ended. */
export function waitForEnd(client: HostClient, id: string, { reached, onTask }: { reached: boolean; onTask?: OnTask }): Promise<Task> {
  const isUnderWay = (task: Task) => task.started !== null && task.state !== 'queued' && task.items === null
  return poll(client, id, { reached, onTask, isDone: ({ state }) => isFinal(state), seconds: (task) => (onTask === undefined || isUnderWay(task) ? WAIT_SECONDS : 1) })
}

// --- internal ---

type OnTask = ((task: Task) => void) | undefined

/** The task once it was given to a node again, or has ended without. */
function waitForExecution(client: HostClient, id: string, shown: number, onTask: OnTask): Promise<Task> {
  // The Host holds an answer until the end alone: what comes before is looked for, soon at first.
  return poll(client, id, { reached: true, onTask, isDone: ({ instance, state }) => instance > shown || isFinal(state), seconds: (_, times) => (times < 20 ? 0.05 : 1) })
}

interface PollOptions {
  reached: boolean
  onTask: OnTask
  isDone: (task: Task) => boolean
  /** How long the Host may hold the next answer. */
  seconds: (task: Task, times: number) => number
}

function poll(client: HostClient, id: string, { reached, onTask, isDone, seconds }: PollOptions): Promise<Task> {
  let wait = 0
  return rejoin(async (joined) => {
    for (let times = 0; ; times++) {
      const task = await client.call('getTask', { params: { id }, query: { wait }, timeoutMs: WAIT_TIMEOUT_MS })
      joined()
      onTask?.(task)
      if (isDone(task)) return task
      wait = seconds(task, times)
    }
  }, { reached })
}
