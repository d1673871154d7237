import { clientGroup } from './commands/client/index.ts'
import { dockerGroup } from './commands/docker/index.ts'
import { dockerShell } from './commands/docker-shell.ts'
import { envGroup } from './commands/env/index.ts'
import { host } from './commands/host.ts'
import { initGroup } from './commands/init/index.ts'
import { login } from './commands/login.ts'
import { run } from './commands/run.ts'
import { runner } from './commands/runner.ts'
import { simulate } from './commands/simulate.ts'
import { taskGroup } from './commands/task/index.ts'
import type { CommandGroup } from './framework/command.ts'

/** Every command. `hakuriver.X …` is `hakuriver X …`, and `hakurun …` is `hakuriver run …`. */
export const rootCommand: CommandGroup = {
  description: 'Customise a container by hand, freeze it, run it everywhere',
  commands: {
    docker: dockerGroup,
    'docker-shell': dockerShell,
    env: envGroup,
    task: taskGroup,
    client: clientGroup,
    run,
    login,
    host,
    runner,
    init: initGroup,
    simulate,
  },
}
