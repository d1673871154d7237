import type { VersionDetails } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { resolveVersion, sizeText, stateText } from '../../environments/versions.ts'
import { defineCommand } from '../../framework/command.ts'
import { formatFacts, formatTable, formatTime, printJson, printLine } from '../../framework/output.ts'

export const showVersion = defineCommand({
  description: 'Show one version of an environment',
  example: 'hakuriver env show my-env@1700000000',
  args: { name: { type: 'positional', description: 'NAME for the current version, or NAME@VERSION' } },
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { client } = connect(args)
    const details = await client.call('getVersion', { params: await resolveVersion(client, args.name) })
    await (args.json ? printJson(details) : printLine(describe(details)))
  },
})

// --- internal ---

function describe(version: VersionDetails): string {
  const { layers } = version
  const text = formatFacts([
    ['Environment', version.environment],
    ['Version', String(version.version)],
    ['State', stateText(version)],
    ['Damage', version.damage],
    ['Created', formatTime(version.created)],
    ['Author', version.author],
    ['Message', version.note],
    ['Base image', version.baseImage],
    ['Platform', version.os && `${version.os}/${version.architecture}`],
    ['File', version.fileName],
    ['Size', formatSize(version.size)],
    ['New', sizeText(version.newBytes)],
    ['Nodes', version.nodes.join(', ')],
    ['Tasks', version.tasks.join(', ')],
    ['Image', version.configDigest],
    // Of one that is damaged, nobody knows.
    ['Manifest', version.configDigest === null && version.damage === null ? 'none: the tarball was made by other tools' : null],
  ])
  if (layers.length === 0) return text
  return `${text}\n\n${formatTable(['LAYER', 'SIZE', 'OF'], layers.map(({ digest, size, isBase }) => [digest, formatSize(size), isBase ? 'the base image' : 'the environment']))}`
}
