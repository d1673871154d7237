import { outputChannels } from '#core/tasks/channels.ts'
import { defineCommand } from '../../framework/command.ts'
import { OF_BATCHES, outputArgs } from '../../tasks/output-args.ts'

export const logsOfTask = defineCommand({
  description: 'Print what a task printed: its output to standard output, its errors to standard error',
  notes: `Byte for byte, to a terminal too: what the task printed may move the cursor. ${OF_BATCHES}
With --follow, a task that is tried again is followed on.`,
  example: 'hakuriver task logs 01ja3v8xk2m4n6p8q0r2s4t6v8 --follow --tail 100',
  args: outputArgs,
  run: async (context) => (await import('../../tasks/logs.ts')).printLogs(outputChannels, context.args),
})
