import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const releaseTask = defineCommand({
  description: 'Let held tasks go',
  notes: `Of a batch, all that is held.`,
  example: 'hakuriver task release 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/control.ts')).controlTasks('release', args),
})
