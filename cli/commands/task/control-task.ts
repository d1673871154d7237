import type { ConnectionArgs } from '../../framework/connection.ts'
import { printJson, printLine } from '../../framework/output.ts'

const endpoints = { kill: 'killTask', pause: 'pauseTask', resume: 'resumeTask' } as const

/** Asks for a change of a task and prints where it stands now: a kill or a pause takes its time to reach the node. */
export async function controlTask(action: keyof typeof endpoints, args: ConnectionArgs & { id: string; json: boolean }): Promise<void> {
  const { connect } = await import('../../framework/connection.ts')
  const task = await connect(args).client.call(endpoints[action], { params: { id: args.id } })
  await (args.json ? printJson(task) : printLine(`${task.id} ${task.state}${task.wish === action ? `, ${action} asked for` : ''}`))
}
