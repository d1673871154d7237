import { defineCommand } from '../../framework/command.ts'

export const verifyVersion = defineCommand({
  description: 'Read a version from the storage and tell whether it is damaged',
  notes: `Every layer is compared with its digest. One that is damaged is given to nobody any more, and the exit code is 1; one that is whole can be used,
whatever was found before: so a tarball that was restored from a backup comes back.`,
  example: 'hakuriver env verify my-env',
  args: {
    name: { type: 'positional', description: 'NAME for the current version, or NAME@VERSION' },
    detach: { type: 'boolean', description: 'Print the id of the operation and do not wait for it' },
  },
  async run({ args }) {
    const { connect } = await import('../../framework/connection.ts')
    const { resolveVersion } = await import('../../environments/versions.ts')
    const { followOperation } = await import('../../operations/follow.ts')
    const { client } = connect(args)
    const operation = await client.call('verifyVersion', { params: await resolveVersion(client, args.name) })
    return followOperation(client, operation, { ...args, describe: (result) => ('fileName' in result ? `${result.fileName} is whole` : '') })
  },
})
