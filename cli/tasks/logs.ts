import type { Task } from '#core/api/schemas.ts'
import { quote } from '#core/names.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { CommandContext } from '../framework/command.ts'
import { connect, type HostClient } from '../framework/connection.ts'
import { exitCodes } from '../framework/exit-codes.ts'
import { readOption } from '../framework/options.ts'
import { usage } from '../framework/parse.ts'
import { wholeNumber } from '../values/numbers.ts'
import { copyBatchOutput } from './batch-output.ts'
import { followTask, type OutputWriters, writersOf } from './follow.ts'
import { copyOutput, type OutputRange } from './output.ts'
import type { OutputArgs } from './output-args.ts'
import { concludeTasks, ownOutputs, tellExecution } from './wait.ts'

/** Prints what a task, or the items of a batch, have printed. With `--follow` it resolves to the exit code of the task. */
export async function printLogs(names: readonly OutputChannel[], args: CommandContext<OutputArgs>['args']): Promise<number> {
  const range = readRange(args)
  const { client } = connect(args)
  const writers = chooseWriters(names)
  const task = await client.call('getTask', { params: { id: args.id } })
  const now = await copy(client, task, { writers, range, follow: args.follow })
  // An earlier execution than the last says nothing of how the task ends.
  return args.follow && isFinal(now.state) && (range.instance ?? now.instance) === now.instance ? concludeTasks([now], args) : exitCodes.ok
}

// --- internal ---

function readRange(args: CommandContext<OutputArgs>['args']): OutputRange {
  if (args.tail !== undefined && args['since-byte'] !== undefined) throw usage('--tail and --since-byte can not be given together: each says where to begin.')
  return {
    tail: readOption('--tail', args.tail, wholeNumber({ min: 0, max: 1_000_000 })),
    offset: readOption('--since-byte', args['since-byte'], parseByte),
    instance: readOption('--instance', args.instance, wholeNumber({ min: 1, max: 1_000_000 })),
  }
}

function parseByte(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw usage(`${quote(text)} is not the number of a byte, counted from 0.`)
  return Number(text)
}

/** One output alone goes to standard output, whichever it is. */
function chooseWriters(names: readonly OutputChannel[]): OutputWriters {
  const own = ownOutputs()
  return names.length > 1 ? own : Object.fromEntries(names.map((name) => [name, own.stdout]))
}

async function copy(client: HostClient, task: Task, { writers, range, follow }: { writers: OutputWriters; range: OutputRange; follow: boolean }): Promise<Task> {
  const { id } = task
  if (task.items !== null) return copyBatchOutput(client, id, { writers, follow, range })
  if (follow) return followTask(client, id, { ...range, writers, onExecution: tellExecution(id) })
  for (const [name, write] of writersOf(writers)) await copyOutput(client, id, name, { ...range, follow: false, reached: true, write })
  return task
}
