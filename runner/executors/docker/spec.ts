import type { TaskOrder } from '#core/api/schemas.ts'
import type { ContainerSpec } from '#core/engine/engine.ts'
import { labels, SHARED_MOUNT, taskContainerName } from '#core/paths.ts'
import { PIDS_LIMIT } from '../limits.ts'
import { taskVariables } from '../variables.ts'
import type { TaskRun } from '../task-run.ts'
import { deviceRequest, gpuVariables } from './gpus.ts'
import type { ContainerServices } from './services.ts'

/** The container of one execution. */
export async function taskSpec({ record }: TaskRun, services: ContainerServices, { image, mounts }: Pick<ContainerSpec, 'image' | 'mounts'>): Promise<ContainerSpec> {
  const { hostname, cpus } = services
  const { order } = record
  const limits = await orderLimits(order, services)
  return {
    ...limits,
    ...cpus.limits(record),
    name: taskContainerName(order.id, order.instance),
    image,
    mounts,
    command: order.command,
    env: { ...taskVariables(order, hostname), ...limits.env },
    labels: { [labels.task]: order.id, [labels.instance]: String(order.instance), [labels.node]: hostname, ...versionLabels(order) },
    workdir: order.workdir ?? SHARED_MOUNT,
    ...(order.user !== null && { user: order.user }),
    logs: 'lossless',
    ...(order.maxOutputBytes !== null && { logBytes: logBytes(order.maxOutputBytes) }),
  }
}

/** What an order lets a container have of its node, CPUs aside. */
export async function orderLimits(order: TaskOrder, { engine, gpuDriver, hasGpus }: Pick<ContainerServices, 'engine' | 'gpuDriver' | 'hasGpus'>): Promise<Partial<ContainerSpec>> {
  const devices = await deviceRequest(order, engine, gpuDriver)
  return {
    network: order.network,
    ...(order.memoryBytes !== null && { memoryBytes: order.memoryBytes }),
    ...(devices && { devices }),
    env: gpuVariables(devices, hasGpus),
    pidsLimit: PIDS_LIMIT,
    privileged: order.privileged,
  }
}

/** Which version a container was made from, for people with `docker ps`. */
export function versionLabels({ image }: TaskOrder): Record<string, string> {
  return image ? { [labels.environment]: image.environment, [labels.version]: String(image.version) } : {}
}

// --- internal ---

/** What an Engine needs to keep a byte of a very short line. */
const LOG_OVERHEAD = 32

/** The node needs to keep no more of a task's output than may come to its two files. */
function logBytes(maxOutputBytes: number): number {
  return 2 * maxOutputBytes * LOG_OVERHEAD
}
