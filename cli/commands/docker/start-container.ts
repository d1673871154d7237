import { assertEnvironmentName } from '#core/names.ts'
import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'
import { statusText } from './status-text.ts'

export const startContainer = defineCommand({
  description: 'Start the container of an environment',
  example: 'hakuriver.docker start-container my-env',
  args: { name: { type: 'positional', description: 'Name of the environment' } },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const { connect } = await import('../../framework/connection.ts')
    const container = await connect(args).client.call('startContainer', { params: { name: args.name } })
    await (args.json ? printJson(container) : printLine(`${container.name} ${statusText(container.status)}`))
  },
})
