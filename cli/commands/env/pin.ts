import { requireVersion } from '../../environments/versions.ts'
import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'

export const pinVersion = defineCommand({
  description: 'Keep a version until it is unpinned',
  example: 'hakuriver env pin my-env@1700000000',
  args: { version: { type: 'positional', description: 'NAME@VERSION' } },
  async run({ args }) {
    const params = requireVersion(args.version)
    const { connect } = await import('../../framework/connection.ts')
    const version = await connect(args).client.call('pinVersion', { params })
    await (args.json ? printJson(version) : printLine(`${version.environment}@${version.version} is pinned`))
  },
})
