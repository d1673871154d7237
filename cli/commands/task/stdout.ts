import { defineCommand } from '../../framework/command.ts'
import { OF_BATCHES, outputArgs } from '../../tasks/output-args.ts'

export const stdoutOfTask = defineCommand({
  description: 'Print what a task printed, byte for byte',
  notes: OF_BATCHES,
  example: 'hakuriver task stdout 01ja3v8xk2m4n6p8q0r2s4t6v8 > result.bin',
  args: outputArgs,
  run: async (context) => (await import('../../tasks/logs.ts')).printLogs(['stdout'], context.args),
})
