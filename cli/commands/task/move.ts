import type { MoveBody } from '#core/api/schemas.ts'
import { parseTarget } from '#core/tasks/targets.ts'
import { type CommandContext, defineCommand } from '../../framework/command.ts'
import { readOption } from '../../framework/options.ts'
import { usage } from '../../framework/parse.ts'
import { wholeNumber } from '../../values/numbers.ts'
import { ids } from './ids.ts'

const args = {
  ...ids,
  first: { type: 'boolean', description: 'Ahead of all that wait with its priority' },
  last: { type: 'boolean', description: 'Behind all that wait with its priority' },
  before: { type: 'string', valueHint: 'id', description: 'Directly ahead of this one, whose priority it takes' },
  priority: { type: 'string', valueHint: 'number', description: 'Higher goes first: -1000 to 1000' },
  target: { type: 'string', valueHint: 'target', description: 'Where to run instead, HOST[:NUMA][::GPU,GPU]' },
  anywhere: { type: 'boolean', description: 'Take the target away: the Host picks a node' },
} as const

export const moveTask = defineCommand({
  description: 'Change the place of waiting tasks in the queue, their priority or their target',
  notes: `Several keep the order in which they are named.`,
  example: 'hakuriver task move 01ja3v8xk2m4n6p8q0r2s4t6v8 --first',
  args,
  async run(context) {
    const body = readMove(context.args)
    const { forTasks } = await import('../../tasks/control.ts')
    // Each goes ahead of the one before it.
    return forTasks(context.args, (client, id) => client.call('moveTask', { params: { id }, body }), { lastFirst: context.args.first })
  },
})

// --- internal ---

function readMove(given: CommandContext<typeof args>['args']): MoveBody {
  const places = [given.first && '--first', given.last && '--last', given.before !== undefined && '--before'].filter((place) => place !== false)
  if (places.length > 1) throw usage(`${places.join(' and ')} can not be given together.`)
  if (given.target !== undefined && given.anywhere) throw usage('--target and --anywhere can not be given together.')
  if (given.before !== undefined && given.priority !== undefined) throw usage('--before takes the priority of the other one: leave --priority out.')
  readOption('--target', given.target, parseTarget)
  const priority = readOption('--priority', given.priority, wholeNumber({ min: -1000, max: 1000 }))
  const to = given.first ? 'first' : given.last ? 'last' : given.before === undefined ? undefined : { before: given.before }
  const target = given.anywhere ? null : given.target
  if (to === undefined && priority === undefined && target === undefined) throw usage('Say where to: --first, --last, --before ID, --priority N, --target T or --anywhere.')
  return { to, priority, target }
}
