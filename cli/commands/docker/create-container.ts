import { assertEnvironmentName } from '#core/names.ts'
import { parseMount } from '#core/tasks/mounts.ts'
import { defineCommand } from '../../framework/command.ts'
import { parseVariables } from '../../values/variables.ts'

export const createContainer = defineCommand({
  description: 'Create and start the persistent container of an environment',
  example: 'hakuriver.docker create-container python:3.12-slim my-env --env PIP_NO_CACHE_DIR=1',
  args: {
    image: { type: 'positional', description: 'Image to begin with, such as ubuntu:22.04' },
    name: { type: 'positional', description: 'Name of the environment' },
    pull: { type: 'boolean', description: 'Pull the image even when the Host has it' },
    'if-not-exists': { type: 'boolean', description: 'Succeed when a container of the same image and options exists' },
    env: { type: 'string', multiple: true, valueHint: 'name=value', description: 'Environment variable of the container' },
    mount: { type: 'string', multiple: true, valueHint: 'src:dst[:ro]', description: 'Directory of the Host, seen in the container' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const env = parseVariables(args.env)
    args.mount.forEach(parseMount)
    const { connect } = await import('../../framework/connection.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('createContainer', { body: { name: args.name, image: args.image, pull: args.pull, ifNotExists: args['if-not-exists'], env, mounts: args.mount } })
    return followOperation(client, operation, {
      ...args,
      describe: (result) => ('image' in result ? `Container ${result.name} of ${result.image} is ${result.status}: ${result.id.slice(0, 12)}` : ''),
    })
  },
})
