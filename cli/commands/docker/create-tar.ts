import { assertEnvironmentName } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { defineCommand } from '../../framework/command.ts'

export const createTar = defineCommand({
  description: 'Package the container of an environment as its newest version',
  args: {
    name: { type: 'positional', description: 'Name of the environment' },
    message: { type: 'string', alias: 'm', valueHint: 'text', description: 'What is new in this version' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const { connect } = await import('../../framework/connection.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('createVersion', { params: { name: args.name }, body: { note: args.message ?? '' } })
    return followOperation(client, operation, {
      ...args,
      describe: (result) => ('fileName' in result ? `Packaged ${result.environment} as ${result.fileName} (${formatSize(result.size)})` : ''),
    })
  },
})
