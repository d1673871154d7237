import type { Node } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { formatTable, formatTime } from '../../framework/output.ts'

/** Nodes as a table. */
export function formatNodes(nodes: Node[]): string {
  const header = ['NODE', 'STATE', 'CORES', 'MEMORY', 'CPU', 'ENGINE', 'LAST HEARTBEAT']
  return formatTable(header, nodes.map((node) => [
    node.hostname,
    node.state,
    `${node.coresReserved}/${node.cores}`,
    `${formatSize(node.memoryReservedBytes)}/${formatSize(node.memoryBytes)}`,
    node.usage.cpuPercent === null ? null : `${Math.round(node.usage.cpuPercent)}%`,
    node.engine && node.engine.version,
    formatTime(node.lastHeartbeat),
  ]))
}
