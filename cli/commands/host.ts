import { defineCommand } from '../framework/command.ts'

export const host = defineCommand({
  description: 'Run the Host on this machine',
  notes: 'Stops on SIGTERM or Ctrl-C: what runs is finished or undone.',
  args: {},
  isServer: true,
  async run({ args }) {
    const { runServer } = await import('../server/run-server.ts')
    return runServer('host', args.config)
  },
})
