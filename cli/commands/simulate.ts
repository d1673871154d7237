import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { HakuError } from '#core/errors.ts'
import { defineCommand } from '../framework/command.ts'
import { readOption } from '../framework/options.ts'
import { usage } from '../framework/parse.ts'
import { wholeNumber } from '../values/numbers.ts'

export const simulate = defineCommand({
  description: 'Run a Host with simulated nodes and tasks on this machine, and measure it',
  notes: `A real Host with temporary directories, nodes that behave as real ones do but run nothing, and so many tasks: how fast they go through, what they
cost, and whether the Host got every one of them right. Touches nothing of an installed HakuRiver. Exit code 1 if it got anything wrong.`,
  example: 'hakuriver simulate --nodes 1000 --tasks 100000',
  args: {
    nodes: { type: 'string', valueHint: 'number', description: 'Simulated nodes, 100 unless given' },
    tasks: { type: 'string', valueHint: 'number', description: 'Tasks, 10000 unless given' },
    cores: { type: 'string', valueHint: 'number', description: 'Cores of each node, 8 unless given; a task takes one' },
    singles: { type: 'boolean', description: 'Submit them one by one, not as one array' },
    clients: { type: 'string', valueHint: 'number', description: 'With --singles: so many at the same time, 8 unless given' },
    milliseconds: { type: 'string', valueHint: 'number', description: 'What a task takes, 1000 in the mean unless given, exponentially distributed' },
    failures: { type: 'string', valueHint: 'percent', description: 'Tasks that fail, 0 unless given' },
    seed: { type: 'string', valueHint: 'number', description: 'Another number, other durations and failures' },
    profile: { type: 'string', valueHint: 'directory', description: 'Write a CPU profile of the Host there, and print where its time went' },
  },
  isServer: true,
  async run({ args }) {
    if (args.clients !== undefined && !args.singles) throw usage('--clients says nothing without --singles.')
    const count = (name: keyof typeof limits, fallback: number) => readOption(`--${name}`, args[name], wholeNumber(limits[name])) ?? fallback
    const options = {
      nodes: count('nodes', 100),
      tasks: count('tasks', 10_000),
      cores: count('cores', 8),
      submit: args.singles ? { clients: count('clients', 8) } : ('array' as const),
      behaviour: { meanMs: count('milliseconds', 1000), failures: count('failures', 0) / 100 },
      seed: count('seed', 1),
      profileDir: args.profile,
      json: args.json,
    }
    // Beside dist/cli, where this code is bundled to.
    const entry = new URL('../simulator/main.mjs', import.meta.url)
    if (!existsSync(entry)) throw new HakuError('usage.invalid', `There is no ${fileURLToPath(entry)}: build it first, with "npm run build".`)
    const simulator = (await import(entry.href)) as Simulator<typeof options>
    return simulator.main(options)
  },
})

// --- internal ---

const limits = {
  nodes: { min: 1, max: 10_000 },
  tasks: { min: 1, max: 1_000_000 },
  cores: { min: 1, max: 4096 },
  clients: { min: 1, max: 1000 },
  milliseconds: { min: 0, max: 86_400_000 },
  failures: { min: 0, max: 100 },
  seed: { min: 0, max: 999_999_999 },
}

interface Simulator<Options> {
  main(options: Options): Promise<number>
}
