import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine, printObjects, tell } from '../../framework/output.ts'
import { formatPreview } from './format-preview.ts'
import { submitArgs } from '../../tasks/submit-args.ts'

/** A million lines take their time. */
const TIMEOUT_MS = 120_000

export const submitTask = defineCommand({
  description: 'Submit a command to run in an environment',
  notes: `Everything after "--" is the command, untouched: no shell sees it. Without "--" it begins at the first word that is no option.
Prints the id of each task on a line, of a batch (--array, --each-line, --sweep) its own; with --wait on standard error, since standard output
is the task's. With --wait and --json the output is left out: standard output is the ended task as an object, several tasks an array.
Exit code with --wait: the task's own, the highest of several; 1 where there is none because the task was killed or never began.
Ctrl-C while it waits asks for a key: d leaves the task alone, k kills it, c goes on waiting. The second time, and where nobody can be asked, the
task is left alone too.`,
  example: `hakuriver task submit --container my-env --cores 4 --memory 8G --wait -- python /shared/train.py
hakuriver task submit --container my-env --sweep 'lr=0.1,0.01 seed=1..10' -- python train.py --lr %{lr} --seed %{seed}`,
  args: submitArgs,
  rest: { name: 'command', description: 'Program and its arguments; %{index}, %{line} and the names of a sweep are replaced by the item\'s' },
  async run(context) {
    const { args } = context
    const { createSubmission } = await import('../../tasks/submission.ts')
    const { submit } = await import('../../tasks/submit.ts')
    const { waitForSubmitted } = await import('../../tasks/wait-submitted.ts')
    const { connect } = await import('../../framework/connection.ts')
    const { body, notifyCommand } = await createSubmission(context)
    const { client } = connect(args)
    if (args['dry-run']) {
      const preview = await client.call('previewTask', { body })
      return args.json ? printJson(preview) : printLine(formatPreview(preview))
    }
    const tasks = await submit(body.key, () => client.call('submitTask', { body, timeoutMs: TIMEOUT_MS }))
    const isWaiting = args.wait || args.follow
    // From here on nothing comes between: whoever interrupts now has the ids.
    if (isWaiting && !args.json) for (const { id } of tasks) tell(id)
    if (isWaiting) return waitForSubmitted(client, tasks, { json: args.json, follow: args.follow, notifyCommand })
    return args.json ? printObjects(tasks) : printLine(tasks.map(({ id }) => id).join('\n'))
  },
})
