import { type CommandArgs, defineCommand } from '../../framework/command.ts'

const args = {
  id: { type: 'positional', description: 'Id of a task, an item (BATCH.INDEX) or a batch' },
  follow: { type: 'boolean', alias: 'f', description: 'Go on until the task has ended, and exit as it does' },
  tail: { type: 'string', alias: 'n', valueHint: 'lines', description: 'Only so many lines from the end' },
  'since-byte': { type: 'string', valueHint: 'byte', description: 'Only from this byte on, counted from 0' },
  instance: { type: 'string', valueHint: 'number', description: 'Of this execution, counted from 1; the last unless given' },
} as const satisfies CommandArgs
export type OutputArgs = typeof args

const BATCHES = 'Of a batch, each line begins with the index of its item; BATCH.INDEX gives one as it is.'

export const logsOfTask = defineCommand({
  description: 'Print what a task printed: its output to standard output, its errors to standard error',
  notes: `Byte for byte, to a terminal too: what the task printed may move the cursor. ${BATCHES}
With --follow, a task that is tried again is followed on.`,
  example: 'hakuriver task logs 01ja3v8xk2m4n6p8q0r2s4t6v8 --follow --tail 100',
  args,
  run: async (context) => (await import('../../tasks/logs.ts')).printLogs(['stdout', 'stderr'], context.args),
})

export const stdoutOfTask = defineCommand({
  description: 'Print what a task printed, byte for byte',
  notes: `${BATCHES}`,
  example: 'hakuriver task stdout 01ja3v8xk2m4n6p8q0r2s4t6v8 > result.bin',
  args,
  run: async (context) => (await import('../../tasks/logs.ts')).printLogs(['stdout'], context.args),
})

export const stderrOfTask = defineCommand({
  description: 'Print what a task printed to standard error, byte for byte',
  notes: `It goes to standard output. ${BATCHES}`,
  example: 'hakuriver task stderr 01ja3v8xk2m4n6p8q0r2s4t6v8 --tail 20',
  args,
  run: async (context) => (await import('../../tasks/logs.ts')).printLogs(['stderr'], context.args),
})
