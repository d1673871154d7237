import { defineCommand } from '../../framework/command.ts'
import { ids } from './ids.ts'

export const killTask = defineCommand({
  description: 'End tasks',
  notes: `A task gets its signal (TERM unless submitted otherwise) and its grace, then KILL. Works in every state; of a batch, all that has not ended.
Prints where each stands: "kill asked for" until its node has answered. With --wait it waits for that.`,
  example: 'hakuriver task kill 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: { ...ids, wait: { type: 'boolean', description: 'Wait until they have really ended' } },
  async run({ args }) {
    const { controlTasks, forTasks } = await import('../../tasks/control.ts')
    if (!args.wait) return controlTasks('kill', args)
    const { waitForEnd } = await import('../../tasks/follow.ts')
    return forTasks(args, async (client, id) => {
      await client.call('killTask', { params: { id } })
      return waitForEnd(client, id, { reached: true })
    })
  },
})
