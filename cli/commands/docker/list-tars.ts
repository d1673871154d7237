import { formatSize } from '#core/tasks/sizes.ts'
import { defineCommand } from '../../framework/command.ts'
import { formatTable, formatTime, printJson, printLine } from '../../framework/output.ts'

export const listTars = defineCommand({
  description: 'List the packaged environments in the shared directory',
  args: {},
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listEnvironments', {})
    if (args.json) return printJson(items)
    const rows = items.map(({ name, latest, older }) => [name, latest.version, formatTime(latest.created), latest.fileName, formatSize(latest.size), older.map(({ version }) => version).join(', ')])
    await printLine(formatTable(['NAME', 'LATEST', 'TIME', 'FILE', 'SIZE', 'OLDER'], rows))
  },
})
