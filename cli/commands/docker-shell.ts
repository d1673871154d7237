import { assertEnvironmentName } from '#core/names.ts'
import { defineCommand } from '../framework/command.ts'
import { createLocalTerminal } from '../shell/local-terminal.ts'

export const dockerShell = defineCommand({
  description: 'Open a shell in the running container of an environment',
  notes: "The exit code is the shell's own. Input may come from a pipe: echo 'id; exit 3' | hakuriver.docker-shell NAME",
  example: 'hakuriver.docker-shell my-env',
  args: { name: { type: 'positional', description: 'Name of the environment' } },
  async run({ args }) {
    assertEnvironmentName(args.name)
    const { connect } = await import('../framework/connection.ts')
    const { runTerminal } = await import('../shell/terminal-client.ts')
    const { stdin, stdout, stderr } = process
    const terminal = createLocalTerminal(stdin, [stdout, stderr])
    const { url, token } = connect(args)
    return runTerminal({ url, token, name: args.name, terminal, stdin, stdout, stderr })
  },
})
