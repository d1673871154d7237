import { defineCommand } from '../../framework/command.ts'
import { usage } from '../../framework/parse.ts'

export const exportVersion = defineCommand({
  description: 'Write a version as an archive that "docker load" takes anywhere',
  notes: `To standard output (also -o -), or to the file that -o names, which is complete once it has its name. A FIFO or a device is written in place,
and a symbolic link stays one. Each layer is checked on the way.
The image in it is called hakuriver/NAME:base.`,
  example: 'hakuriver env export my-env -o my-env.tar',
  args: {
    name: { type: 'positional', description: 'NAME for the current version, or NAME@VERSION' },
    output: { type: 'string', alias: 'o', valueHint: 'file', description: 'File to write; - for standard output' },
  },
  async run({ args }) {
    if (args.output === '') throw usage('--output is empty. Name a file, or - for standard output.')
    const { openDestination } = await import('../../environments/archive-file.ts')
    const destination = await openDestination(args.output)
    if (destination.isTerminal) throw usage('An archive is nothing for a terminal. Write it to a file: > FILE or -o FILE.')
    const { connect } = await import('../../framework/connection.ts')
    const { resolveVersion } = await import('../../environments/versions.ts')
    const { client } = connect(args)
    const params = await resolveVersion(client, args.name)
    await destination.write(await client.stream('exportVersion', { params }))
  },
})
