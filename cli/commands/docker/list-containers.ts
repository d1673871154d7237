import { defineCommand } from '../../framework/command.ts'
import { formatTable, printJson, printLine } from '../../framework/output.ts'
import { statusText } from './status-text.ts'

export const listContainers = defineCommand({
  description: 'List the persistent containers of HakuRiver on the Host',
  example: 'hakuriver.docker list-containers',
  args: {},
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listContainers', {})
    if (args.json) return printJson(items)
    await printLine(formatTable(['ID', 'NAME', 'IMAGE', 'STATUS'], items.map(({ id, name, image, status }) => [id.slice(0, 12), name, image, statusText(status)])))
  },
})
