import type { CommandArgs } from '../framework/command.ts'

/** Which part of an output. */
export const outputArgs = {
  id: { type: 'positional', description: 'Id of a task, an item (BATCH.INDEX) or a batch' },
  follow: { type: 'boolean', alias: 'f', description: 'Go on until the task has ended, and exit as it does' },
  tail: { type: 'string', alias: 'n', valueHint: 'lines', description: 'Only so many lines from the end' },
  'since-byte': { type: 'string', valueHint: 'byte', description: 'Only from this byte on, counted from 0' },
  instance: { type: 'string', valueHint: 'number', description: 'Of this execution, counted from 1; the last unless given' },
} as const satisfies CommandArgs
export type OutputArgs = typeof outputArgs

/** For the help. */
export const OF_BATCHES = 'Of a batch, each line begins with the index of its item; BATCH.INDEX gives one as it is.'
