import { formatSize } from '#core/tasks/sizes.ts'
import { currentOf, sizeText, versionsOf } from '../../environments/versions.ts'
import { defineCommand } from '../../framework/command.ts'
import { formatTable, formatTime, printJson, printLine } from '../../framework/output.ts'

export const listEnvironments = defineCommand({
  description: 'List the packaged environments with their current versions',
  example: 'hakuriver env list',
  args: {},
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listEnvironments', {})
    if (args.json) return printJson(items)
    const rows = items.map((environment) => {
      const versions = versionsOf(environment)
      const { current, version, created, size, newBytes, nodes, note } = currentOf(environment)
      const tasks = versions.reduce((sum, each) => sum + each.tasks.length, 0)
      return [environment.name, current ? version : null, formatTime(created), formatSize(size), sizeText(newBytes), versions.length, nodes.join(', '), tasks, note]
    })
    await printLine(formatTable(['NAME', 'CURRENT', 'CREATED', 'SIZE', 'NEW', 'VERSIONS', 'NODES', 'TASKS', 'MESSAGE'], rows))
  },
})
