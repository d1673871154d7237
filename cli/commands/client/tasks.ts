import { defineCommand } from '../../framework/command.ts'
import { controlTask } from '../task/control-task.ts'
import { printStatus } from '../task/print-status.ts'

const args = { id: { type: 'positional', description: 'Id of the task' } } as const

export const clientStatus = defineCommand({
  description: 'Show one task: the same as "hakuriver task status"',
  args,
  run: (context) => printStatus(context.args),
})

export const clientKill = defineCommand({
  description: 'End a task: the same as "hakuriver task kill"',
  args,
  run: (context) => controlTask('kill', context.args),
})
