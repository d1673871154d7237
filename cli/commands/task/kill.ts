import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const killTask = defineCommand({
  description: 'End tasks',
  notes: `A task gets its signal (TERM unless submitted otherwise) and its grace, then KILL. Works in every state; of a batch, all that has not ended.
Prints where each stands: "kill asked for" until its node has answered. With --wait it waits for that, even while
the node is silent: what was lost with it may run on there. Ctrl-C only ends the waiting.`,
  example: 'hakuriver task kill 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: { ...ids, wait: { type: 'boolean', description: 'Wait until they have really ended' } },
  async run({ args }) {
    if (args.wait) return (await import('../../tasks/kill.ts')).killAndWait(args)
    return (await import('../../tasks/control.ts')).controlTasks('kill', args)
  },
})
