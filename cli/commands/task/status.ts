import { defineCommand } from '../../framework/command.ts'
import { printStatus } from './print-status.ts'

export const taskStatus = defineCommand({
  description: 'Show one task',
  args: { id: { type: 'positional', description: 'Id of the task' } },
  run: ({ args }) => printStatus(args),
})
