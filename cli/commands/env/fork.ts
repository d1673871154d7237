import { assertEnvironmentName, parseEnvironmentReference } from '#core/names.ts'
import { defineCommand } from '../../framework/command.ts'

export const forkEnvironment = defineCommand({
  description: 'Create and start a persistent container from a version',
  notes: `For a new environment that begins where another stands, or to get back one whose container was deleted: hakuriver env fork my-env my-env
The versions of the new environment share the layers of the one it began with.`,
  example: 'hakuriver env fork my-env@1700000000 new-env',
  args: {
    name: { type: 'positional', description: 'NAME for the current version, or NAME@VERSION' },
    new: { type: 'positional', description: 'Name of the environment that gets the container' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    const { name, version } = parseEnvironmentReference(args.name)
    assertEnvironmentName(args.new)
    const { connect } = await import('../../framework/connection.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('forkEnvironment', { params: { name }, body: { name: args.new, ...(version !== undefined && { version }) } })
    return followOperation(client, operation, {
      ...args,
      describe: (result) => ('image' in result ? `Container ${result.name} of ${result.image} is ${result.status}: ${result.id.slice(0, 12)}` : ''),
    })
  },
})
