import type { Node } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { formatFacts, formatTable, formatTime } from '../../framework/output.ts'

/** Nodes as a table. Resources: those that are reserved, of those that there are. */
export function formatNodes(nodes: readonly Node[]): string {
  const header = ['NODE', 'STATE', 'TASKS', 'CORES', 'MEMORY', 'GPUS', 'CPU', 'ENGINE', 'LAST HEARTBEAT']
  return formatTable(header, nodes.map((node) => [
    node.hostname,
    stateOf(node),
    node.tasks,
    `${node.coresReserved}/${node.cores}`,
    memoryOf(node),
    node.gpus.length === 0 ? null : `${node.gpusReserved.length}/${node.gpus.length}`,
    cpuOf(node),
    node.engine && node.engine.version,
    formatTime(node.lastHeartbeat),
  ]))
}

/** All about one node. */
export function describeNode(node: Node): string {
  const facts = formatFacts([
    ['Node', node.hostname],
    ['State', stateOf(node)],
    ['Drained', node.drained && `since ${formatTime(node.drained.since)}${node.drained.reason ? `: ${node.drained.reason}` : ''}`],
    ['Heartbeat', formatTime(node.lastHeartbeat)],
    ['Address', node.url],
    ['Tasks', node.tasks],
    ['Cores', `${node.coresReserved} of ${node.cores} reserved`],
    ['Memory', `${memoryOf(node)} reserved`],
    ['CPU', cpuOf(node)],
    ['Memory used', node.usage.memoryUsedBytes === null ? null : formatSize(node.usage.memoryUsedBytes)],
    ['Processes', node.plainProcesses ? 'takes tasks without a container' : null],
    ['Engine', node.engine ? `${node.engine.version}, ${node.engine.storageDriver}, ${node.engine.architecture}` : 'does not answer'],
    ['Runner', node.runnerVersion],
    ['Versions', node.images.map(({ environment, version }) => `${environment}@${version}`).join(', ')],
  ])
  const gpus = formatTable(['GPU', 'NAME', 'MEMORY', 'NUMA NODE', 'STATE'], node.gpus.map(({ id, name, memoryBytes, numaNode }) => [id, name, formatSize(memoryBytes), numaNode, node.gpusReserved.includes(id) ? 'reserved' : 'free']))
  const numaNodes = formatTable(['NUMA NODE', 'CPUS', 'CORES', 'MEMORY'], node.numaNodes.map(({ id, cpus, cores, memoryBytes }) => [id, cpus, cores, formatSize(memoryBytes)]))
  return [facts, ...(node.gpus.length > 0 ? [gpus] : []), ...(node.numaNodes.length > 0 ? [numaNodes] : [])].join('\n\n')
}

// --- internal ---

function stateOf({ state, drained }: Node): string {
  return drained ? `${state}, drained` : state
}

function memoryOf({ memoryReservedBytes, memoryBytes }: Node): string {
  return `${formatSize(memoryReservedBytes)}/${formatSize(memoryBytes)}`
}

function cpuOf({ usage }: Node): string | null {
  return usage.cpuPercent === null ? null : `${Math.round(usage.cpuPercent)}%`
}
