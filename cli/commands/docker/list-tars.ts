import type { Version } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { currentOf, sizeText, stateText, versionsOf } from '../../environments/versions.ts'
import { defineCommand } from '../../framework/command.ts'
import { formatTable, formatTime, printJson, printLine } from '../../framework/output.ts'

export const listTars = defineCommand({
  description: 'List the packaged environments in the shared directory',
  example: 'hakuriver.docker list-tars --json',
  args: {},
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { items } = await connect(args).client.call('listEnvironments', {})
    if (args.json) return printJson(items)
    const rows = items.map((environment) => {
      const current = currentOf(environment)
      const others = versionsOf(environment).filter(({ version }) => version !== current.version).map(describeOther)
      return [environment.name, current.version, formatTime(current.created), current.fileName, formatSize(current.size), sizeText(current.newBytes), current.nodes.join(', '), others.join(', ')]
    })
    await printLine(formatTable(['NAME', 'LATEST', 'TIME', 'FILE', 'SIZE', 'NEW', 'NODES', 'OLDER'], rows))
  },
})

// --- internal ---

function describeOther(version: Version): string {
  const state = stateText(version)
  return state === '' ? String(version.version) : `${version.version} (${state})`
}
