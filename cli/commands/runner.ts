import { defineCommand } from '../framework/command.ts'

export const runner = defineCommand({
  description: 'Run the Runner of this node',
  notes: 'Stops on SIGTERM or Ctrl-C. Tasks go on; the next start of the Runner takes them over.',
  example: 'hakuriver.runner --config /etc/hakuriver/config.toml',
  args: {},
  isServer: true,
  async run({ args }) {
    const { runServer } = await import('../server/run-server.ts')
    return runServer('runner', args.config)
  },
})
