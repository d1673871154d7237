import { defineCommand } from '../../framework/command.ts'
import { usage } from '../../framework/parse.ts'
import { ids } from './ids.ts'

/** Each is waited for on a connection of its own. */
const MOST_OF_ANY = 50

export const waitTask = defineCommand({
  description: 'Wait for the end of tasks and exit as they do',
  notes: `Prints each with its state as it ends. Exit code: the highest of all; with --any that of the first to end. 1 for one that has none: one that
was lost with its node too, although that may bring it back.
Ctrl-C asks for a key: d leaves the tasks alone, k kills them, c goes on waiting.`,
  example: 'hakuriver task wait 01ja3v8xk2m4n6p8q0r2s4t6v8',
  args: { ...ids, any: { type: 'boolean', description: 'Only until the first of them has ended' } },
  async run({ args }) {
    if (args.any && args.id.length > MOST_OF_ANY) throw usage(`--any takes at most ${MOST_OF_ANY} tasks.`)
    const { waitForNamed } = await import('../../tasks/wait-named.ts')
    return waitForNamed(args)
  },
})
