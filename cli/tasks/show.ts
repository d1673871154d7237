import type { Explanation, TaskDetails } from '#core/api/schemas.ts'
import { connect, type HostClient } from '../framework/connection.ts'
import { printLine, printObjects } from '../framework/output.ts'
import { tryAll } from '../framework/try-all.ts'
import type { ControlArgs } from './control.ts'
import { describeExplanation, describeTask } from './describe.ts'

/** Prints all about tasks, and of those that wait why. Resolves to the exit code of the worst. */
export function showTasks(args: ControlArgs): Promise<number> {
  return printAll(args, readTask, ({ explanation, ...task }) => (explanation ? `${describeTask(task)}\n\n${describeExplanation(explanation)}` : describeTask(task)))
}

/** Prints why tasks wait. Resolves to the exit code of the worst. */
export function explainTasks(args: ControlArgs): Promise<number> {
  return printAll(args, (client, id) => client.call('explainTask', { params: { id } }), describeExplanation)
}

// --- internal ---

async function readTask(client: HostClient, id: string): Promise<TaskDetails & { explanation?: Explanation }> {
  const task = await client.call('getTask', { params: { id } })
  const waits = task.state === 'queued' || (task.items !== null && task.items.pending !== '')
  return waits ? { ...task, explanation: await client.call('explainTask', { params: { id } }) } : task
}

async function printAll<T>(args: ControlArgs, read: (client: HostClient, id: string) => Promise<T>, describe: (value: T) => string): Promise<number> {
  const { client } = connect(args)
  const { results, code } = await tryAll(args.id, { program: 'hakuriver task', json: args.json }, (id) => read(client, id))
  if (args.json) await printObjects(results, args.id.length)
  else if (results.length > 0) await printLine(results.map(describe).join('\n\n'))
  return code
}
