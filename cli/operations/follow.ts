import type { Operation } from '#core/api/schemas.ts'
import { readEvents } from '#core/client/events.ts'
import { errorMessage, fromProblem, HakuError, isHakuError } from '#core/errors.ts'
import type { HostClient } from '../framework/connection.ts'
import { exitCodes } from '../framework/exit-codes.ts'
import { leave, onInterrupt } from '../framework/interrupts.ts'
import { printJson, printLine } from '../framework/output.ts'
import { rejoin } from '../framework/rejoin.ts'
import { createProgressView, type ProgressView } from './progress.ts'

export interface FollowOptions {
  detach: boolean
  json: boolean
  /** The line for people about what was made. */
  describe: (result: NonNullable<Operation['result']>) => string
}

/**
 * Shows an operation until its end, over lost links too, and prints what it made; `detach` prints its id alone. Ctrl-C asks
 * the Host to undo it; a second one leaves at once.
 *
 * @returns the exit code
 * @throws the error the operation failed with
 */
export async function followOperation(client: HostClient, operation: Operation, options: FollowOptions): Promise<number> {
  if (options.detach) {
    await (options.json ? printJson(operation) : printLine(operation.id))
    return exitCodes.ok
  }
  const view = createProgressView(process.stderr)
  let interrupted = false
  const release = onInterrupt((signal) => {
    if (interrupted || signal === 'SIGTERM') leave(signal)
    interrupted = true
    void cancel(client, operation.id, view)
  })
  try {
    const ended = await watch(client, operation.id, view)
    view.end()
    return await conclude(ended, interrupted, options)
  } finally {
    release()
    view.end()
  }
}

// --- internal ---

async function conclude(operation: Operation, interrupted: boolean, { json, describe }: FollowOptions): Promise<number> {
  if (operation.state === 'cancelled' && interrupted) {
    process.stderr.write('Cancelled; what was done is undone.\n')
    return exitCodes.interrupted
  }
  if (operation.state !== 'succeeded' || !operation.result) {
    throw operation.error ? fromProblem(operation.error) : new HakuError('operation.cancelled', `The operation ${operation.id} was cancelled.`)
  }
  await (json ? printJson(operation.result) : printLine(describe(operation.result)))
  return exitCodes.ok
}

async function watch(client: HostClient, id: string, view: ProgressView): Promise<Operation> {
  try {
    return await rejoin(async (joined) => {
      const ended = await watchOnce(client, id, view, joined)
      if (ended) return ended
      throw new HakuError('host.stopping', 'The Host ended the stream of events before the operation ended.')
    }, { reached: true })
  } catch (error) {
    if (!isHakuError(error, 'host.unreachable', 'host.stopping')) throw error
    throw new HakuError('host.unreachable', `The link to the Host was lost: ${errorMessage(error)} What became of the operation ${id} shows when the Host is back.`, { cause: error })
  }
}

async function watchOnce(client: HostClient, id: string, view: ProgressView, joined: () => void): Promise<Operation | undefined> {
  const stream = await client.stream('followOperation', { params: { id } })
  // A Host that lost its power says no goodbye.
  stream.socket.setKeepAlive(true, 15_000)
  for await (const operation of readEvents<Operation>(stream)) {
    joined()
    if (operation.state !== 'running') return operation
    view.update(operation.progress)
  }
  return undefined
}

async function cancel(client: HostClient, id: string, view: ProgressView): Promise<void> {
  view.say('Cancelling: the Host undoes what was done. Ctrl-C once more leaves without waiting.')
  try {
    await client.call('cancelOperation', { params: { id } })
  } catch (error) {
    if (!isHakuError(error, 'operation.finished')) view.say(`The Host could not be asked to cancel: ${errorMessage(error)}`)
  }
}
