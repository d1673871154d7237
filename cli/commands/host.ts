import { defineCommand } from '../framework/command.ts'

export const host = defineCommand({
  description: 'Run the Host on this machine',
  notes: 'Stops on SIGTERM or Ctrl-C: what runs is finished or undone.',
  example: 'hakuriver.host --config /etc/hakuriver/config.toml',
  args: {},
  isServer: true,
  async run({ args }) {
    const { runServer } = await import('../server/run-server.ts')
    return runServer('host', args.config)
  },
})
