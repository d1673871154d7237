import type { Task } from '#core/api/schemas.ts'
import type { HostClient } from '../framework/connection.ts'
import { printObjects } from '../framework/output.ts'
import { runNotifyCommand } from './notify.ts'
import { createTaskView } from './task-view.ts'
import { concludeTasks, waitForTasks } from './wait.ts'

export interface WaitSubmittedOptions {
  json: boolean
  /** The output of several tasks, and of a batch, is shown too. */
  follow: boolean
  /** argv of a program to run for each that has ended. */
  notifyCommand: string[] | undefined
}

/** What `--wait` and `--follow` do with tasks that were submitted just now. Resolves to the exit code. */
export async function waitForSubmitted(client: HostClient, tasks: Task[], { json, follow, notifyCommand }: WaitSubmittedOptions): Promise<number> {
  const isSingle = tasks.length === 1 && tasks.every(({ items }) => items === null)
  const output = !json && (follow || isSingle)
  const view = output ? undefined : createTaskView()
  const onEnd = notifyCommand && ((task: Task) => runNotifyCommand(notifyCommand, task))
  const ended = await waitForTasks(client, tasks, { output, onEnd, onTask: view?.onTask }).finally(view?.end)
  if (json) await printObjects(ended)
  return concludeTasks(ended, { json })
}
