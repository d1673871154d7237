import { defineCommand } from '../../framework/command.ts'
import { controlTask } from './control-task.ts'

const id = { type: 'positional', description: 'Id of the task' } as const

export const killTask = defineCommand({
  description: 'End a task',
  args: { id },
  run: ({ args }) => controlTask('kill', args),
})

export const pauseTask = defineCommand({
  description: 'Freeze a running task',
  args: { id },
  run: ({ args }) => controlTask('pause', args),
})

export const resumeTask = defineCommand({
  description: 'Go on with a paused task',
  args: { id },
  run: ({ args }) => controlTask('resume', args),
})

export const controlCommand = defineCommand({
  description: 'Pause or resume a task, as HakuRiver 0.3 spelled it',
  args: { id, action: { type: 'positional', description: 'pause or resume', choices: ['pause', 'resume'] } },
  run: ({ args }) => controlTask(args.action === 'pause' ? 'pause' : 'resume', args),
})
