import { spawn } from 'node:child_process'
import type { Task } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { tell } from '../framework/output.ts'

/** Runs a program about a task that has ended, and waits for it. What it prints goes to standard error; that it fails is told and changes nothing else. */
export async function runNotifyCommand([program = '', ...args]: string[], task: Task): Promise<void> {
  const env = { ...process.env, HAKURIVER_TASK_ID: task.id, HAKURIVER_TASK_STATE: task.state, HAKURIVER_TASK_EXIT_CODE: task.exitCode === null ? '' : String(task.exitCode) }
  const failure = await new Promise<string | undefined>((resolve) => {
    const child = spawn(program, args, { env, stdio: ['ignore', process.stderr, process.stderr] })
    child.once('error', (error) => resolve(`could not be run: ${errorMessage(error)}`))
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? code}`))
  })
  if (failure !== undefined) tell(`--notify ${quote(program)} ${failure}.`)
}
