import { HakuError } from '#core/errors.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { outputHeaders } from '#core/tasks/output-file.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Task } from '#core/api/schemas.ts'
import type { HostClient } from '../framework/connection.ts'
import { rejoin } from '../framework/rejoin.ts'

/** Which part of an output. */
export interface OutputRange {
  /** First byte. */
  offset?: number | undefined
  /** Instead: so many lines from the end. */
  tail?: number | undefined
  /** Which execution; the last unless said. */
  instance?: number | undefined
}

export interface CopyOptions extends OutputRange {
  /** Until this execution has ended and everything was sent. */
  follow: boolean
  /** The Host has just answered something else: see `rejoin`. */
  reached: boolean
  write: (chunk: Buffer) => Promise<void>
}

/** Hands the bytes that an execution printed to `write`, in order and each once: after a lost link it goes on where it was. */
export async function copyOutput(client: HostClient, id: string, name: OutputChannel, { offset = 0, tail, instance, follow, reached, write }: CopyOptions): Promise<void> {
  const endpoint = name === 'stdout' ? 'getTaskStdout' : 'getTaskStderr'
  let position = tail === undefined ? offset : undefined
  await rejoin(async (joined) => {
    const stream = await client.stream(endpoint, { params: { id }, query: { ...(position === undefined ? { tail } : { offset: position }), instance, follow: String(follow) } })
    joined()
    stream.socket.setKeepAlive(true, 15_000)
    if (tail !== undefined && follow) position ??= beginningOf(stream.headers[outputHeaders.offset])
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (position !== undefined) position += chunk.length
      await write(chunk)
    }
    // A Host cuts what it can not send whole; a proxy between may not.
    if (follow && !hasEnded(await client.call('getTask', { params: { id } }), instance)) throw new HakuError('host.stopping', 'The output ended before the task did.')
  }, { reached })
}

/** Whether this execution of the task is over, be it that another one follows. */
export function hasEnded(task: Pick<Task, 'state' | 'instance'>, instance: number | undefined): boolean {
  return isFinal(task.state) || task.state === 'queued' || task.instance > (instance ?? Infinity)
}

// --- internal ---

/** A Host that does not say where the last lines begin can not be asked to go on behind them. */
function beginningOf(header: string | string[] | undefined): number {
  if (!/^\d+$/.test(String(header))) throw new HakuError('internal.error', 'The Host does not say where the output begins. Is it a HakuRiver of this version?')
  return Number(header)
}
