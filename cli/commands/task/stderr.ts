import { defineCommand } from '../../framework/command.ts'
import { OF_BATCHES, outputArgs } from '../../tasks/output-args.ts'

export const stderrOfTask = defineCommand({
  description: 'Print what a task printed to standard error, byte for byte',
  notes: `It goes to standard output. ${OF_BATCHES}`,
  example: 'hakuriver task stderr 01ja3v8xk2m4n6p8q0r2s4t6v8 --tail 20',
  args: outputArgs,
  run: async (context) => (await import('../../tasks/logs.ts')).printLogs(['stderr'], context.args),
})
