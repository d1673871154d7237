import { defineCommand } from '../../framework/command.ts'
import { ids } from '../task/ids.ts'

export const clientStatus = defineCommand({
  description: 'Show tasks: the same as "hakuriver task show"',
  example: 'hakuriver client status 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/show.ts')).showTasks(args),
})

export const clientKill = defineCommand({
  description: 'End tasks: the same as "hakuriver task kill"',
  example: 'hakuriver client kill 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/control.ts')).controlTasks('kill', args),
})
