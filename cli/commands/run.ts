import { defineCommand } from '../framework/command.ts'
import { readOption } from '../framework/options.ts'
import { printJson, printLine } from '../framework/output.ts'
import { wholeNumber } from '../values/numbers.ts'

const CORES = 'cores'

export const run = defineCommand({
  description: 'Run a program on this machine for each combination of arguments',
  notes: `span:{1..3} stands for the whole numbers from 1 to 3, span:[a,b] for the words a and b, span:x for x; all combinations are run, the last one
varying fastest. No shell is between. Put them in quotes: shells know these characters too.
All are run, whatever becomes of the others. Exit code: 0 only if every run succeeded, else the highest of all; 127 for a program that there is
not. With --parallel the runs share the output by whole lines and have no input.`,
  example: `hakurun --parallel 4 python train.py --seed 'span:{1..10}' --optimizer 'span:[adam,sgd]'`,
  args: {
    parallel: { type: 'string', implied: CORES, valueHint: 'number', description: 'So many at a time; without a number as many as there are cores' },
    'dry-run': { type: 'boolean', description: 'Print what would be run, as JSON a line each, and run nothing' },
  },
  rest: { name: 'app', description: 'Program and its arguments' },
  async run({ args, rest }) {
    const parallel = readOption('--parallel', args.parallel === CORES ? undefined : args.parallel, wholeNumber({ min: 1, max: 10_000 }))
    const { expandSpans } = await import('../run/spans.ts')
    const argvs = expandSpans(rest)
    if (args['dry-run']) {
      if (args.json) return printJson(argvs)
      return printLine(argvs.map((argv) => JSON.stringify(argv)).join('\n'))
    }
    const { availableParallelism } = await import('node:os')
    const { runAll } = await import('../run/run-all.ts')
    return runAll(argvs, args.parallel === undefined ? 1 : (parallel ?? availableParallelism()))
  },
})
