import type { Task } from '#core/api/schemas.ts'
import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'

export const waitTask = defineCommand({
  description: 'Wait for the end of a task and exit as it does',
  args: { id: { type: 'positional', description: 'Id of the task' } },
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { client } = connect(args)
    const { createProgressView } = await import('../../operations/progress.ts')
    const { concludeTasks, waitForTasks } = await import('../../tasks/wait.ts')
    // An unknown id, or a Host that is away, is told at once.
    await client.call('getTask', { params: { id: args.id } })
    const view = createProgressView(process.stderr)
    const onTask = ({ sync }: Task) => sync && view.update({ phase: 'syncing', bytes: sync.bytes, totalBytes: sync.totalBytes, message: '' })
    const tasks = await waitForTasks(client, [args.id], { quiet: true, onTask }).finally(view.end)
    for (const task of tasks) await (args.json ? printJson(task) : printLine(`${task.id} ${task.state}`))
    return concludeTasks(tasks)
  },
})
