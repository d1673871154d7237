import { createHash } from 'node:crypto'
import type { TaskOrder } from '#core/api/schemas.ts'
import type { ContainerSpec } from '#core/engine/engine.ts'
import { IDLE_COMMAND } from '#core/engine/idle.ts'
import { labels, packContainerName, SHARED_MOUNT } from '#core/paths.ts'
import type { TaskRecord } from '../../state/state.ts'
import type { ContainerServices } from '../docker/services.ts'
import { orderLimits, versionLabels } from '../docker/spec.ts'
import type { AgentRuntime } from './agent/runtime.ts'

/** What the agent needs beside its items. */
const AGENT_BYTES = 64 * 1024 ** 2

/** The name of the container that an item goes to. Items of one batch may differ in their GPUs and NUMA nodes; another agent wants another container. */
export function warmName(order: TaskOrder, hostname: string, runtime: AgentRuntime): string {
  const { pack, image, mounts, userMounts, allowedMounts, network, privileged, numaNode, gpus, cores, memoryBytes, user, workdir } = order
  const shape = JSON.stringify([hostname, runtime, image, mounts, userMounts, allowedMounts, network, privileged, numaNode, gpus, cores, memoryBytes, user, workdir])
  return packContainerName(pack ?? '', createHash('sha256').update(shape).digest('hex').slice(0, 12))
}

/** A container for items like this one. It does nothing itself. */
export async function warmSpec(record: TaskRecord, services: ContainerServices, { name, image, mounts, capacity }: Pick<ContainerSpec, 'name' | 'image' | 'mounts'> & { capacity: number }): Promise<ContainerSpec> {
  const { hostname, cpus } = services
  const { order } = record
  const { env = {}, ...limits } = await orderLimits(order, services)
  return {
    ...limits,
    ...cpus.limits(record),
    ...sharedLimits(order, capacity, (await services.engine.info()).cores),
    name,
    image,
    mounts,
    command: [...IDLE_COMMAND],
    env,
    labels: { [labels.pack]: order.pack ?? '', [labels.node]: hostname, ...versionLabels(order) },
    workdir: order.workdir ?? SHARED_MOUNT,
    logs: 'none',
  }
}

/** Limits hold for all items in a container together: so many times those of one as there ever were at once, and what the agent needs. */
export function sharedLimits({ cores, memoryBytes }: TaskOrder, capacity: number, engineCores: number): Pick<ContainerSpec, 'cores' | 'memoryBytes'> {
  return { cores: Math.min(cores * capacity, engineCores), ...(memoryBytes !== null && { memoryBytes: memoryBytes * capacity + AGENT_BYTES }) }
}
