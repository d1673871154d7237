import type { WaitingReason } from '#core/api/schemas.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { plural } from '#core/words.ts'
import type { NodeCapacity, ResourceRequest } from './types.ts'

/** Whether a node could run a request if nothing else ran there, and what it lacks. */

/** Whether the node could run it if nothing else ran there: {@link missingOn} in short. */
export function couldEverFit(request: ResourceRequest, node: NodeCapacity): boolean {
  const { target, cores, memoryBytes, plain } = request
  if ((target !== null && target.node !== node.hostname) || (plain && !node.plainProcesses)) return false
  const place = placeOf(request, node)
  return place !== undefined && cores <= place.cores && (memoryBytes ?? 0) <= place.memoryBytes && hasGpus(request, node)
}

/** All that the node lacks, each with a sentence of its own; empty: it could run it if nothing else ran there. */
export function missingOn(request: ResourceRequest, node: NodeCapacity): WaitingReason[] {
  const { hostname } = node
  if (request.target !== null && request.target.node !== hostname) return [{ code: 'other_target', message: `It must run on ${request.target.node}.` }]
  const missing: WaitingReason[] = []
  if (request.plain && !node.plainProcesses) missing.push({ code: 'no_plain_processes', message: `${hostname} takes no tasks without a container.` })
  const place = placeOf(request, node)
  if (place === undefined) missing.push({ code: 'no_such_numa_node', message: `${hostname} has no NUMA node ${request.target?.numaNode}${node.numaNodes.length > 0 ? `: it has ${node.numaNodes.map(({ id }) => id).join(', ')}` : ''}.` })
  else missing.push(...tooSmall(request, place, node))
  const gpus = missingGpus(request, node)
  if (gpus !== undefined) missing.push({ code: 'no_such_gpu', message: gpus })
  return missing
}

export interface NearestFit {
  hostname: string
  missing: WaitingReason[]
}

/** The node that lacks least of a request that none could ever run; `null`: one could, or there is none at all. */
export function nearestFit(request: ResourceRequest, nodes: readonly NodeCapacity[]): NearestFit | null {
  const misfits = nodes.map((node) => ({ hostname: node.hostname, missing: missingOn(request, node), share: missingShare(request, node) }))
  if (misfits.some(({ missing }) => missing.length === 0)) return null
  const isElsewhere = ({ missing }: NearestFit) => Number(missing[0]?.code === 'other_target')
  const [nearest] = misfits.sort((left, right) => isElsewhere(left) - isElsewhere(right) || left.missing.length - right.missing.length || left.share - right.share || (left.hostname < right.hostname ? -1 : 1))
  return nearest ? { hostname: nearest.hostname, missing: nearest.missing } : null
}

/** The same as sentences, for whoever submitted it; `null`: a node could run it, or there is none at all. */
export function refusal(request: ResourceRequest, nodes: readonly NodeCapacity[]): string | null {
  // Each submission asks, and most fit on the first.
  if (nodes.some((node) => couldEverFit(request, node))) return null
  const nearest = nearestFit(request, nodes)
  if (nearest === null) return null
  const asked = request.target === null ? `No node could ever run this. The nearest is ${nearest.hostname}:` : `${nearest.hostname} could never run this:`
  return `${asked} ${nearest.missing.map(({ message }) => message).join(' ')} Ask for less, or see what the nodes have with "hakuriver.client nodes".`
}

/** What a request asks for, in words: `4 cores, 2.00 GB of memory and 1 GPU`. */
export function describeRequest(request: ResourceRequest): string {
  const { cores, memoryBytes, target, gpus, gpuMemoryBytes } = request
  const named = target?.gpus ?? []
  const gpuCount = named.length > 0 ? `the ${plural('GPU', named.length)} ${named.join(', ')}` : `${gpus} ${plural('GPU', gpus)}${gpuMemoryBytes === null ? '' : ` with ${formatSize(gpuMemoryBytes)}`}`
  const words = [
    ...(cores > 0 ? [`${cores} ${plural('core', cores)}`] : []),
    ...(memoryBytes === null ? [] : [`${formatSize(memoryBytes)} of memory`]),
    ...(gpus > 0 || named.length > 0 ? [gpuCount] : []),
  ]
  return words.length < 2 ? (words[0] ?? 'nothing') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`
}

// --- internal ---

type Place = Pick<NodeCapacity, 'cores' | 'memoryBytes'>

/** Where its cores and memory come from: the node, or its NUMA node. */
function placeOf({ target }: ResourceRequest, node: NodeCapacity): Place | undefined {
  if (target?.numaNode === undefined) return node
  const numa = node.numaNodes.find(({ id }) => id === target.numaNode)
  return numa && { cores: Math.min(numa.cores, node.cores), memoryBytes: Math.min(numa.memoryBytes, node.memoryBytes) }
}

function tooSmall({ target, cores, memoryBytes }: ResourceRequest, place: Place, { hostname }: NodeCapacity): WaitingReason[] {
  const name = target?.numaNode === undefined ? hostname : `NUMA node ${target.numaNode} of ${hostname}`
  return [
    ...(cores > place.cores ? [{ code: 'too_small' as const, message: `${name} has ${place.cores} of the ${cores} cores.` }] : []),
    ...(memoryBytes !== null && memoryBytes > place.memoryBytes ? [{ code: 'too_small' as const, message: `${name} has ${formatSize(place.memoryBytes)} of the ${formatSize(memoryBytes)} of memory.` }] : []),
  ]
}

function hasGpus({ target, gpus, gpuMemoryBytes }: ResourceRequest, node: NodeCapacity): boolean {
  const named = target?.gpus
  if (named === undefined && gpus === 0) return true
  const large = node.gpus.filter(({ memoryBytes }) => memoryBytes >= (gpuMemoryBytes ?? 0))
  return named === undefined ? large.length >= gpus : named.every((wanted) => large.some(({ id }) => id === wanted))
}

function missingGpus({ target, gpus, gpuMemoryBytes }: ResourceRequest, node: NodeCapacity): string | undefined {
  const large = node.gpus.filter(({ memoryBytes }) => memoryBytes >= (gpuMemoryBytes ?? 0))
  const size = gpuMemoryBytes === null ? '' : ` with ${formatSize(gpuMemoryBytes)}`
  if (target?.gpus === undefined) return large.length >= gpus ? undefined : `${node.hostname} has ${large.length} of the ${gpus} ${plural('GPU', gpus)}${size}.`
  const lacking = target.gpus.filter((wanted) => !large.some(({ id }) => id === wanted))
  if (lacking.length === 0) return undefined
  return `${node.hostname} has no ${plural('GPU', lacking.length)} ${lacking.join(', ')}${size}${node.gpus.length > 0 ? `: it has ${node.gpus.map(({ id }) => id).join(', ')}` : ''}.`
}

/** How much of what is asked for the node lacks, in all: 1 for each thing that it has nothing of. */
function missingShare(request: ResourceRequest, node: NodeCapacity): number {
  const place = placeOf(request, node) ?? { cores: 0, memoryBytes: 0 }
  const wanted = request.target?.gpus?.length ?? request.gpus
  const large = node.gpus.filter(({ memoryBytes }) => memoryBytes >= (request.gpuMemoryBytes ?? 0)).length
  const share = (asked: number, has: number) => (asked > has ? (asked - has) / asked : 0)
  return share(request.cores, place.cores) + share(request.memoryBytes ?? 0, place.memoryBytes) + share(wanted, large)
}
