import { defineCommand } from '../../framework/command.ts'
import { usage } from '../../framework/parse.ts'

export const retryTask = defineCommand({
  description: 'Execute tasks that did not succeed once more, with the same id',
  notes: `Of a batch, all items that have ended and did not succeed, those that never ran included. "hakuriver task rerun" makes a new task.`,
  example: `hakuriver task retry 01ja3v8xk2m4n6p8q0r2s4t6v8
hakuriver task retry --failed 01ja3v8xk2m4n6p8q0r2s4t6v8`,
  args: {
    id: { type: 'positional', multiple: true, required: false, description: 'Ids of tasks, items (BATCH.INDEX) or batches' },
    failed: { type: 'string', multiple: true, valueHint: 'batch', description: 'The same as naming this batch' },
  },
  async run({ args }) {
    if (args.id.length + args.failed.length === 0) throw usage('Name tasks, or a batch with --failed.')
    const { controlTasks } = await import('../../tasks/control.ts')
    return controlTasks('retry', { ...args, id: [...args.id, ...args.failed] })
  },
})
