import type { Task } from '#core/api/schemas.ts'
import { connect, type ConnectionArgs, type HostClient } from '../framework/connection.ts'
import { printLine, printObjects } from '../framework/output.ts'
import { tryAll } from '../framework/try-all.ts'
import { standingLine } from './describe.ts'

export type ControlArgs = ConnectionArgs & { id: readonly string[]; json: boolean }

const endpoints = { kill: 'killTask', pause: 'pauseTask', resume: 'resumeTask', hold: 'holdTask', release: 'releaseTask', retry: 'retryTask' } as const
export type ControlAction = keyof typeof endpoints

/** Asks for a change of tasks and prints where they stand now: a kill or a pause takes its time to reach the node. Resolves to the exit code. */
export function controlTasks(action: ControlAction, args: ControlArgs): Promise<number> {
  return forTasks(args, (client, id) => client.call(endpoints[action], { params: { id } }))
}

/** Does something to each task, to the last one first if so wanted, and prints what it answers: as JSON in the order in which they are named. Resolves to the exit code of the worst. */
export async function forTasks(args: ControlArgs, work: (client: HostClient, id: string) => Promise<Task>, { lastFirst = false } = {}): Promise<number> {
  const { client } = connect(args)
  const { results, code } = await tryAll(lastFirst ? args.id.toReversed() : args.id, { program: 'hakuriver task', json: args.json }, async (id) => {
    const task = await work(client, id)
    if (!args.json) await printLine(standingLine(task))
    return task
  })
  if (args.json) await printObjects(lastFirst ? results.toReversed() : results, args.id.length)
  return code
}
