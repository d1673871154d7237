import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const showTask = defineCommand({
  description: 'Show tasks with all that happened to them, and why they wait',
  notes: `With --json the objects of the API; of one that waits, with its explanation.`,
  example: 'hakuriver task show 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/show.ts')).showTasks(args),
})
