import { assertEnvironmentName } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { defineCommand } from '../../framework/command.ts'
import { loginName } from '../../framework/login-name.ts'
import { readOption } from '../../framework/options.ts'
import { usage } from '../../framework/parse.ts'
import { wholeNumber } from '../../values/numbers.ts'

export const createTar = defineCommand({
  description: 'Package the container of an environment as its newest version',
  notes: `With --test nobody else is given the version before it has passed. If it fails, the version is removed again, the one before stays the current one, and
the exit code is 1; the output stays with the task that ran it. Ctrl-C ends the test too.`,
  example: `hakuriver.docker create-tar my-env -m 'numpy 2' --keep 5 --test 'python -c "import numpy"'`,
  args: {
    name: { type: 'positional', description: 'Name of the environment' },
    message: { type: 'string', alias: 'm', valueHint: 'text', description: 'What is new in this version' },
    keep: { type: 'string', valueHint: 'number', description: 'Versions of the environment that stay, this one included; docker.keep_versions unless given' },
    test: { type: 'string', valueHint: 'command', description: 'Publish it only if this ends with 0, run by /bin/sh in exactly this version on a node' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const keep = readOption('--keep', args.keep, wholeNumber({ min: 1, max: 10_000 }))
    if (args.test === '') throw usage('--test is empty: write the command that has to end with 0.')
    const { connect } = await import('../../framework/connection.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('createVersion', { params: { name: args.name }, body: { note: args.message ?? '', author: loginName(), ...(keep !== undefined && { keep }), ...(args.test !== undefined && { test: args.test }) } })
    return followOperation(client, operation, {
      ...args,
      describe: (result) => ('fileName' in result ? `Packaged ${result.environment} as ${result.fileName} (${formatSize(result.size)})` : ''),
    })
  },
})
