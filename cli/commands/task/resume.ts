import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const resumeTask = defineCommand({
  description: 'Go on with paused tasks',
  notes: `Of a batch, all that is paused.`,
  example: 'hakuriver task resume 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/control.ts')).controlTasks('resume', args),
})
