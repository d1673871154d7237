import { defineCommand } from '../../framework/command.ts'

export const controlCommand = defineCommand({
  description: 'Pause or resume a task, as HakuRiver 0.3 spelled it',
  example: 'hakuriver task command 01ja3v8xk2m4n6p8q0r2s4t6v8 pause',
  args: { id: { type: 'positional', description: 'Id of the task' }, action: { type: 'positional', description: 'pause or resume', choices: ['pause', 'resume'] } },
  run: async ({ args }) => (await import('../../tasks/control.ts')).controlTasks(args.action === 'pause' ? 'pause' : 'resume', { ...args, id: [args.id] }),
})
