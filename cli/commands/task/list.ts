import type { Task } from '#core/api/schemas.ts'
import { quote } from '#core/names.ts'
import { type TaskState, taskStates } from '#core/tasks/states.ts'
import { defineCommand } from '../../framework/command.ts'
import { formatTable, formatTime, printJson, printLine } from '../../framework/output.ts'
import { usage } from '../../framework/parse.ts'

export const listTasks = defineCommand({
  description: 'List tasks, newest first',
  args: {
    state: { type: 'string', valueHint: 'state', description: 'Only tasks in this state, such as running' },
    node: { type: 'string', valueHint: 'node', description: 'Only tasks of this node' },
    environment: { type: 'string', valueHint: 'environment', description: 'Only tasks in this environment' },
    limit: { type: 'string', valueHint: 'number', description: 'At most so many, 100 unless given' },
  },
  async run({ args: { state: stateText, node, environment, limit: limitText, ...args } }) {
    const limit = limitText === undefined ? 100 : parseLimit(limitText)
    const state = stateText === undefined ? undefined : parseState(stateText)
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listTasks', { query: { limit, state, node, environment } })
    await (args.json ? printJson(items) : printLine(formatTable(HEADER, items.map(row))))
  },
})

// --- internal ---

const HEADER = ['ID', 'STATE', 'EXIT', 'NODE', 'ENVIRONMENT', 'SUBMITTED', 'COMMAND']

function row(task: Task): (string | number | null)[] {
  return [task.id, task.state, task.exitCode, task.node, task.environment, formatTime(task.submitted), task.command.join(' ').slice(0, 60)]
}

function parseState(text: string): TaskState {
  const state = taskStates.find((known) => known === text)
  if (!state) throw usage(`--state ${quote(text)} is none of ${taskStates.join(', ')}.`)
  return state
}

function parseLimit(text: string): number {
  const limit = Number(text)
  if (!/^\d+$/.test(text) || limit < 1 || limit > 1000) throw usage(`--limit ${quote(text)} is not a number from 1 to 1000.`)
  return limit
}
