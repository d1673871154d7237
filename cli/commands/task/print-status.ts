import type { Task } from '#core/api/schemas.ts'
import { printable } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import type { ConnectionArgs } from '../../framework/connection.ts'
import { formatTime, printJson, printLine } from '../../framework/output.ts'
import { formatSync } from '../../tasks/format-sync.ts'

/** Prints all about one task. */
export async function printStatus(args: ConnectionArgs & { id: string; json: boolean }): Promise<void> {
  const { connect } = await import('../../framework/connection.ts')
  const task = await connect(args).client.call('getTask', { params: { id: args.id } })
  await (args.json ? printJson(task) : printLine(describeTask(task)))
}

// --- internal ---

function describeTask(task: Task): string {
  const facts: [string, string | number | null][] = [
    ['Id', task.id],
    ['State', task.sync ? formatSync(task.sync) : task.state],
    ['Reason', task.reason && (task.message ? `${task.reason}: ${task.message}` : task.reason)],
    ['Message', task.reason ? null : task.message],
    ['Exit code', task.exitCode],
    ['Node', task.node],
    ['Target', task.target],
    ['Environment', `${task.environment}, version ${task.version}`],
    ['Command', JSON.stringify(task.command)],
    ['Variables', Object.keys(task.env).join(', ')],
    ['Mounts', task.mounts.join(', ')],
    ['Cores', task.cores],
    ['Memory', task.memoryBytes === null ? 'no limit' : formatSize(task.memoryBytes)],
    ['Submitted', formatTime(task.submitted)],
    ['Started', task.started && formatTime(task.started)],
    ['Finished', task.finished && formatTime(task.finished)],
  ]
  return facts.filter(([, value]) => value !== null && value !== '').map(([label, value]) => `${`${label}:`.padEnd(13)}${printable(String(value))}`).join('\n')
}
