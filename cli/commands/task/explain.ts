import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const explainTask = defineCommand({
  description: 'Tell why tasks wait: the place in the queue, and for each node why not there',
  example: 'hakuriver task explain 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/show.ts')).explainTasks(args),
})
