import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const holdTask = defineCommand({
  description: 'Keep waiting tasks in the queue until they are released',
  notes: `Of a batch, all that waits; what runs goes on.`,
  example: 'hakuriver task hold 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: async ({ args }) => (await import('../../tasks/control.ts')).controlTasks('hold', args),
})
