import type { Task } from '#core/api/schemas.ts'
import { connect } from '../framework/connection.ts'
import { printLine, printObjects } from '../framework/output.ts'
import { tryAll } from '../framework/try-all.ts'
import type { ControlArgs } from './control.ts'
import { createTaskView } from './task-view.ts'
import { concludeTasks, waitForFirst, waitForTasks } from './wait.ts'

/** `task wait`: those that there are are waited for, the others are told at once. Resolves to the exit code. */
export async function waitForNamed(args: ControlArgs & { any: boolean }): Promise<number> {
  const { client } = connect(args)
  const { results: tasks, code } = await tryAll(args.id, { program: 'hakuriver task', json: args.json }, (id) => client.call('getTask', { params: { id } }))
  if (tasks.length === 0) return code
  const view = createTaskView()
  const onEnd = async ({ id, state }: Task) => {
    view.end()
    if (!args.json) await printLine(`${id} ${state}`)
  }
  const options = { output: false, onTask: view.onTask, onEnd }
  const ended = await (args.any ? waitForFirst(client, tasks, options) : waitForTasks(client, tasks, options)).finally(view.end)
  if (args.json) await printObjects(ended, args.any ? 1 : args.id.length)
  return Math.max(code, concludeTasks(ended, args))
}
