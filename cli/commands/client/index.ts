import type { CommandGroup } from '../../framework/command.ts'
import { health } from './health.ts'
import { drainNode, nodes, removeNode, showNode, undrainNode } from './nodes.ts'
import { clientKill, clientStatus } from './tasks.ts'

export const clientGroup: CommandGroup = {
  description: 'The cluster at a glance, and its nodes',
  commands: { nodes, node: showNode, drain: drainNode, undrain: undrainNode, remove: removeNode, health, status: clientStatus, kill: clientKill },
}
