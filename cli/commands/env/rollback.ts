import { assertEnvironmentName, parseVersionNumber } from '#core/names.ts'
import { defineCommand } from '../../framework/command.ts'
import { loginName } from '../../framework/login-name.ts'

export const rollbackEnvironment = defineCommand({
  description: 'Make an older version of an environment current again',
  notes: `It becomes a new version over the same layers: nothing is loaded that a node has already, and no version is removed for it.
The container on the Host stays as it is; "hakuriver env fork NAME@VERSION NEW" makes one to work on in an old version.`,
  example: "hakuriver env rollback my-env 1700000000 -m 'numpy 2 is too slow'",
  args: {
    name: { type: 'positional', description: 'Name of the environment' },
    version: { type: 'positional', description: 'Version to go back to' },
    message: { type: 'string', alias: 'm', valueHint: 'text', description: 'Why' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const version = parseVersionNumber(args.version)
    const { connect } = await import('../../framework/connection.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('rollbackEnvironment', { params: { name: args.name }, body: { version, note: args.message ?? '', author: loginName() } })
    return followOperation(client, operation, {
      ...args,
      describe: (result) => ('fileName' in result ? `${result.environment} is at version ${result.version}, which is ${result.restores} again` : ''),
    })
  },
})
