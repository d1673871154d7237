import { defineCommand } from '../../framework/command.ts'
import { printJson, printLine } from '../../framework/output.ts'
import { formatNodes } from './format-nodes.ts'

export const nodes = defineCommand({
  description: 'List the nodes with their resources',
  args: {},
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listNodes', {})
    await (args.json ? printJson(items) : printLine(formatNodes(items)))
  },
})
