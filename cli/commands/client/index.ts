import type { CommandGroup } from '../../framework/command.ts'
import { health } from './health.ts'
import { nodes } from './nodes.ts'
import { clientKill, clientStatus } from './tasks.ts'

export const clientGroup: CommandGroup = {
  description: 'The cluster at a glance',
  commands: { nodes, health, status: clientStatus, kill: clientKill },
}
