import { defineCommand } from '../../framework/command.ts'
import { usage } from '../../framework/parse.ts'

export const exportVersion = defineCommand({
  description: 'Write a version as an archive that "docker load" takes anywhere',
  notes: `To standard output, or to the file that -o names, which is complete once it has its name. Each layer is checked on the way.
The image in it is called hakuriver/NAME:base.`,
  args: {
    name: { type: 'positional', description: 'NAME for the current version, or NAME@VERSION' },
    output: { type: 'string', alias: 'o', valueHint: 'file', description: 'File to write' },
  },
  async run({ args }) {
    if (args.output === undefined && process.stdout.isTTY) throw usage('An archive is nothing for a terminal. Write it to a file: > FILE or -o FILE.')
    const { connect } = await import('../../framework/connection.ts')
    const { resolveVersion } = await import('../../environments/versions.ts')
    const { saveTo, writeOut } = await import('../../environments/archive-file.ts')
    const { client } = connect(args)
    const params = await resolveVersion(client, args.name)
    const archive = await client.stream('exportVersion', { params })
    await (args.output === undefined ? writeOut(archive) : saveTo(args.output, archive))
  },
})
