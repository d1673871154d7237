import { defineCommand } from '../../framework/command.ts'
import { usage } from '../../framework/parse.ts'
import type { ControlAction, ControlArgs } from '../../tasks/control.ts'
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

export const pauseTask = defineCommand({
  description: 'Freeze running tasks; what they reserve stays reserved',
  example: 'hakuriver task pause 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: ({ args }) => control('pause', args),
})

export const resumeTask = defineCommand({
  description: 'Go on with paused tasks',
  example: 'hakuriver task resume 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: ({ args }) => control('resume', args),
})

export const holdTask = defineCommand({
  description: 'Keep waiting tasks in the queue until they are released',
  example: 'hakuriver task hold 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: ({ args }) => control('hold', args),
})

export const releaseTask = defineCommand({
  description: 'Let held tasks go',
  example: 'hakuriver task release 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: ids,
  run: ({ args }) => control('release', args),
})

export const retryTask = defineCommand({
  description: 'Execute tasks that did not succeed once more, with the same id',
  example: `hakuriver task retry 01ja3v8xk2m4n6p8q0r2s4t6v8
hakuriver task retry --failed 01ja3v8xk2m4n6p8q0r2s4t6v8`,
  args: {
    id: { type: 'positional', multiple: true, required: false, description: 'Ids of tasks or items (BATCH.INDEX)' },
    failed: { type: 'string', multiple: true, valueHint: 'batch', description: 'All items of this batch that have ended and did not succeed' },
  },
  run({ args }) {
    if (args.id.length + args.failed.length === 0) throw usage('Name tasks, or a batch with --failed.')
    return control('retry', { ...args, id: [...args.id, ...args.failed] })
  },
})

export const controlCommand = defineCommand({
  description: 'Pause or resume a task, as HakuRiver 0.3 spelled it',
  example: 'hakuriver task command 01ja3v8xk2m4n6p8q0r2s4t6v8 pause',
  args: { id: { type: 'positional', description: 'Id of the task' }, action: { type: 'positional', description: 'pause or resume', choices: ['pause', 'resume'] } },
  run: ({ args }) => control(args.action === 'pause' ? 'pause' : 'resume', { ...args, id: [args.id] }),
})

// --- internal ---

async function control(action: ControlAction, args: ControlArgs): Promise<number> {
  const { controlTasks } = await import('../../tasks/control.ts')
  return controlTasks(action, args)
}
