import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const pauseTask = defineCommand({
  description: 'Freeze running tasks; what they reserve stays reserved',
  notes: `Of a batch, all that runs; what waits still begins.`,
  example: 'hakuriver task pause 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/control.ts')).controlTasks('pause', args),
})
