import type { Task } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { HostClient } from '../framework/connection.ts'
import { rejoin } from '../framework/rejoin.ts'

export type OutputName = 'stdout' | 'stderr'

export interface CopyOptions {
  follow: boolean
  /** The Host has just answered something else: see `rejoin`. */
  reached: boolean
  write: (chunk: Buffer) => Promise<void>
}

/** The Host holds an answer this long at most; the client waits a little longer. */
const WAIT_SECONDS = 30
const WAIT_TIMEOUT_MS = 45_000

/**
 * Hands the bytes that a task printed to `write`, in order and each once: after a lost link it goes on where it was.
 * With `follow` until the task has ended and everything was sent.
 */
export async function copyOutput(client: HostClient, id: string, name: OutputName, { follow, reached, write }: CopyOptions): Promise<void> {
  let offset = 0
  await rejoin(async (joined) => {
    const stream = await client.stream(name === 'stdout' ? 'getTaskStdout' : 'getTaskStderr', { params: { id }, query: { offset, follow: String(follow) } })
    joined()
    stream.socket.setKeepAlive(true, 15_000)
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      offset += chunk.length
      await write(chunk)
    }
    // A Host that stops ends the stream too: it is whole only when the task has ended.
    if (follow && !isFinal((await client.call('getTask', { params: { id } })).state)) throw new HakuError('host.stopping', 'The Host ended the output before the task ended.')
  }, { reached })
}

/** The task once it has ended, however long that takes. `onTask` hears of it each second until it runs. */
export async function waitForEnd(client: HostClient, id: string, { reached, onTask }: { reached: boolean; onTask?: (task: Task) => void }): Promise<Task> {
  let isUnderWay = onTask === undefined
  return rejoin(async (joined) => {
    for (;;) {
      const task = await client.call('getTask', { params: { id }, query: { wait: isUnderWay ? WAIT_SECONDS : 1 }, timeoutMs: WAIT_TIMEOUT_MS })
      joined()
      onTask?.(task)
      if (isFinal(task.state)) return task
      isUnderWay ||= task.started !== null
    }
  }, { reached })
}
