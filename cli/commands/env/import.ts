import { assertEnvironmentName, printable } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { defineCommand } from '../../framework/command.ts'
import { loginName } from '../../framework/login-name.ts'
import { printJson, printLine, tell } from '../../framework/output.ts'
import { usage } from '../../framework/parse.ts'

export const importVersion = defineCommand({
  description: 'Make the archive of an image the newest version of an environment',
  notes: `Takes what "docker save", "podman save" and skopeo write, compressed or not, what "hakuriver env export" writes, and tarballs of HakuRiver 0.3.
An archive that is damaged, holds several images or tries anything odd is refused, and nothing is stored. No version is removed for it.`,
  example: 'hakuriver env import image.tar --name my-env',
  args: {
    file: { type: 'positional', description: 'Archive to read; - for standard input' },
    name: { type: 'string', required: true, valueHint: 'name', description: 'Name of the environment' },
    message: { type: 'string', alias: 'm', valueHint: 'text', description: 'What is new in this version' },
  },
  async run({ args }) {
    assertEnvironmentName(args.name)
    if (args.file === '-' && process.stdin.isTTY) throw usage('An archive can not be typed. Name a file, or pipe one in.')
    const { connect } = await import('../../framework/connection.ts')
    const { openUpload } = await import('../../environments/archive-file.ts')
    const upload = await openUpload(args.file)
    try {
      const { warnings, ...version } = await connect(args).client.call('importVersion', {
        params: { name: args.name },
        query: { note: args.message ?? '', author: loginName() },
        upload: upload.content,
      })
      upload.end()
      for (const warning of warnings) tell(`Warning: ${warning}`)
      await (args.json ? printJson({ ...version, warnings }) : printLine(`Imported ${printable(args.file)} as ${version.fileName} (${formatSize(version.size)})`))
    } finally {
      upload.end()
    }
  },
})
