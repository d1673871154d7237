import { assertEnvironmentName } from '#core/names.ts'
import { formatVersions, versionsOf } from '../../environments/versions.ts'
import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'

export const logVersions = defineCommand({
  description: 'List the versions of an environment, newest first',
  example: 'hakuriver env log my-env',
  args: { name: { type: 'positional', description: 'Name of the environment' } },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const { connect } = await import('../../framework/connection.ts')
    const versions = versionsOf(await connect(args).client.call('getEnvironment', { params: { name: args.name } }))
    await (args.json ? printJson(versions) : printLine(formatVersions(versions)))
  },
})
