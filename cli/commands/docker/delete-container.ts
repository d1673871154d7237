import { assertEnvironmentName } from '#core/names.ts'
import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'

export const deleteContainer = defineCommand({
  description: 'Delete the container of an environment; its tarballs stay',
  example: 'hakuriver.docker delete-container my-env',
  args: { name: { type: 'positional', description: 'Name of the environment' } },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const { connect } = await import('../../framework/connection.ts')
    await connect(args).client.call('deleteContainer', { params: { name: args.name } })
    await (args.json ? printJson({ name: args.name }) : printLine(`${args.name} Deleted`))
  },
})
