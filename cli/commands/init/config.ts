import { defineCommand } from '../../framework/command.ts'
import { printLine, tell } from '../../framework/output.ts'

export const initConfig = defineCommand({
  description: 'Write a configuration file with every key explained, unless there is one',
  notes: 'Writes ~/.hakuriver/config.toml, or the file that --config or HAKURIVER_CONFIG names.',
  example: 'hakuriver.init config --config /etc/hakuriver/config.toml',
  args: {},
  async run({ args }) {
    const { writeDefaultConfig } = await import('../../config/default-config.ts')
    const { file, isNew } = writeDefaultConfig(args.config)
    if (!isNew) tell('The file exists and was left as it is:')
    await printLine(file)
  },
})
