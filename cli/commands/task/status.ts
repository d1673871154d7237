import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const taskStatus = defineCommand({
  description: 'Show tasks: the same as "hakuriver task show"',
  example: 'hakuriver task status 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/show.ts')).showTasks(args),
})
