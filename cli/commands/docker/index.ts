import type { CommandGroup } from '../../framework/command.ts'
import { createContainer } from './create-container.ts'
import { createTar } from './create-tar.ts'
import { deleteContainer } from './delete-container.ts'
import { listContainers } from './list-containers.ts'
import { listTars } from './list-tars.ts'
import { startContainer } from './start-container.ts'
import { stopContainer } from './stop-container.ts'

export const dockerGroup: CommandGroup = {
  description: "Environments on the Host: persistent containers, and the tarballs made of them",
  commands: {
    'create-container': createContainer,
    'list-containers': listContainers,
    'start-container': startContainer,
    'stop-container': stopContainer,
    'delete-container': deleteContainer,
    'create-tar': createTar,
    'list-tars': listTars,
  },
}
