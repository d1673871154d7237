import { parseEnvironmentReference, quote } from '#core/names.ts'
import { type TaskState, taskStates } from '#core/tasks/states.ts'
import { defineCommand } from '../../framework/command.ts'
import { readOption } from '../../framework/options.ts'
import { usage } from '../../framework/parse.ts'
import { wholeNumber } from '../../values/numbers.ts'
import { parsePastTime } from '../../values/times.ts'

export const listTasks = defineCommand({
  description: 'List tasks and batches, newest first',
  notes: `A batch is one row; --items or --batch shows its items. With --watch the list is drawn again and again at a terminal, and elsewhere a line is
printed for each change (with --json an object on a line); Ctrl-C ends it with 0.`,
  example: 'hakuriver task list --state running --since 1h --watch',
  args: {
    state: { type: 'string', valueHint: 'state', description: `Only tasks in this state: ${taskStates.join(', ')}` },
    node: { type: 'string', valueHint: 'node', description: 'Only tasks of this node' },
    environment: { type: 'string', valueHint: 'environment', description: 'Only tasks in this environment; NULL for plain processes' },
    user: { type: 'string', valueHint: 'name', description: 'Only tasks that this user submitted' },
    since: { type: 'string', valueHint: 'time', description: 'Only tasks submitted since then, such as 1h, 2d, yesterday or 2026-02-03T14:00' },
    batch: { type: 'string', valueHint: 'id', description: 'Only items of this batch' },
    items: { type: 'boolean', description: 'Items of batches too' },
    limit: { type: 'string', valueHint: 'number', description: 'At most so many, up to 1000000, with --watch up to 1000; 100 unless given' },
    all: { type: 'boolean', description: 'All there are' },
    watch: { type: 'boolean', alias: 'w', description: 'Go on showing what changes' },
  },
  async run({ args: { state, node, environment, user, since, batch, items, limit, all, watch, ...args } }) {
    if (all && (limit !== undefined || watch)) throw usage(`--all and ${watch ? '--watch' : '--limit'} can not be given together.`)
    const options = {
      ...args,
      limit: all ? Infinity : (readOption('--limit', limit, wholeNumber({ min: 1, max: watch ? 1000 : 1_000_000 })) ?? 100),
      filter: {
        state: readOption('--state', state, parseState), node, environment: readOption('--environment', environment, parseEnvironment), submitter: user, since: readOption('--since', since, parsePastTime), batch,
        level: items || batch !== undefined ? ('all' as const) : ('top' as const),
      },
    }
    if (watch) return (await import('../../tasks/watch.ts')).watchTasks(options)
    return (await import('../../tasks/list.ts')).printTasks(options)
  },
})

// --- internal ---

function parseEnvironment(text: string): string {
  if (text === 'NULL') return text
  const { name, version } = parseEnvironmentReference(text)
  if (version !== undefined) throw usage(`${quote(text)} names a version; tasks are listed by the environment alone. Write --environment ${name}.`)
  return name
}

function parseState(text: string): TaskState {
  const state = taskStates.find((known) => known === text)
  if (!state) throw usage(`${quote(text)} is none of ${taskStates.join(', ')}.`)
  return state
}
