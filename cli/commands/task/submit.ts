import type { SubmitInput, Task } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { parseEnvironmentReference, quote } from '#core/names.ts'
import { parseMount } from '#core/tasks/mounts.ts'
import { parseSize } from '#core/tasks/sizes.ts'
import { parseTarget } from '#core/tasks/targets.ts'
import { type CommandContext, defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'
import { formatPreview } from './format-preview.ts'
import { usage } from '../../framework/parse.ts'
import { parseVariables } from '../../framework/variables.ts'

const args = {
  container: { type: 'string', required: true, valueHint: 'environment', description: 'Environment to run in; its current version is used, or NAME@VERSION' },
  target: { type: 'string', multiple: true, valueHint: 'node', description: 'Node to run on, one task for each; without it the Host picks one' },
  cores: { type: 'string', valueHint: 'number', description: 'Cores to reserve and limit to, 1 unless given; 0 reserves nothing and sets no limit' },
  memory: { type: 'string', valueHint: 'size', description: 'Memory to reserve and limit to, such as 512M or 24G; without it no limit' },
  env: { type: 'string', multiple: true, valueHint: 'name=value', description: 'Environment variable of the task' },
  mount: { type: 'string', multiple: true, valueHint: 'src:dst[:ro]', description: 'Directory of the node, seen in the task' },
  'dry-run': { type: 'boolean', description: 'Tell where each task would run and what has to be loaded there, and store nothing' },
  wait: { type: 'boolean', description: 'Show the output, wait for the end and exit as the task does' },
} as const

export const submitTask = defineCommand({
  description: 'Submit a command to run in an environment',
  notes: `Everything after "--" is the command, untouched: no shell sees it. Without "--" it begins at the first word that is no option.
Prints the id of each task on a line; with --wait on standard error, since standard output is the task's.
With --wait and --json the output is left out: standard output is the ended task as an object, several tasks an array.
Exit code with --wait: the task's own, the highest of several; 1 where there is none because the task was killed or never began.`,
  args,
  rest: { name: 'command', description: 'Program and its arguments' },
  async run(context) {
    const body = createBody(context)
    const { connect } = await import('../../framework/connection.ts')
    const { client } = connect(context.args)
    if (context.args['dry-run']) {
      const preview = await client.call('previewTask', { body })
      return context.args.json ? printJson(preview) : printLine(formatPreview(preview))
    }
    const { tasks } = await client.call('submitTask', { body })
    if (!context.args.wait) return context.args.json ? printTasks(tasks) : printLine(ids(tasks).join('\n'))
    if (!context.args.json) process.stderr.write(`${ids(tasks).join('\n')}\n`)
    const { concludeTasks, waitForTasks } = await import('../../tasks/wait.ts')
    const ended = await waitForTasks(client, ids(tasks), { quiet: context.args.json })
    if (context.args.json) await printTasks(ended)
    return concludeTasks(ended)
  },
})

// --- internal ---

/** Everything that can be told to be wrong without the Host is told before it is asked. */
function createBody({ args: given, rest }: CommandContext<typeof args>): SubmitInput {
  if (given.container === 'NULL') throw new HakuError('usage.invalid', '--container NULL (no container) is not supported yet. Name an environment; "hakuriver docker list-tars" shows them.')
  const { name, version } = parseEnvironmentReference(given.container)
  given.target.forEach(parseTarget)
  given.mount.forEach(parseMount)
  return {
    command: rest,
    environment: name,
    ...(version !== undefined && { version }),
    targets: given.target,
    cores: given.cores === undefined ? 1 : parseCores(given.cores),
    memoryBytes: given.memory === undefined ? null : parseSize(given.memory),
    env: parseVariables(given.env),
    mounts: given.mount,
  }
}

function parseCores(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw usage(`--cores ${quote(text)} is not a whole number.`)
  return Number(text)
}

function ids(tasks: Task[]): string[] {
  return tasks.map(({ id }) => id)
}

/** One task is an object, several are an array. */
function printTasks(tasks: Task[]): Promise<void> {
  return printJson(tasks.length === 1 ? tasks[0] : tasks)
}
