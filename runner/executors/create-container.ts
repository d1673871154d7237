import type { SyncProgress } from '#core/api/schemas.ts'
import type { ContainerDetails, ContainerSpec } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'
import { labels, SHARED_MOUNT, taskContainerName } from '#core/paths.ts'
import { untilEngineAnswers } from './engine-retry.ts'
import { resolveMounts } from './mounts.ts'
import type { ExecutorServices } from './services.ts'
import { TaskFailure } from './task-failure.ts'
import type { TaskRun } from './task-run.ts'

/** Many threads, and still a fork bomb does not take the node with it. */
const PIDS_LIMIT = 32_768
/** What the contract takes. */
const MAX_DAMAGE = 4096

/** A container of a task: made just now, or found. */
export type TaskContainer = Pick<ContainerDetails, 'id' | 'status' | 'started' | 'finished'>

/**
 * Step: the version's image on this node, and the container made from it.
 *
 * The image is not looked up before each use. One that was removed behind our back shows when the container is made, and
 * is loaded again. The container's name is the lock: a second start of the same task finds the first one's container.
 */
export async function createTaskContainer(run: TaskRun, services: ExecutorServices): Promise<TaskContainer> {
  const mounts = await resolveMounts(run, services)
  for (let attempt = 1; ; attempt++) {
    const image = await ensureImage(run, services)
    const spec = toSpec(run, services, { image, mounts })
    try {
      const id = await untilEngineAnswers(run, run.interrupted, () => services.engine.createContainer(spec))
      return { id, status: 'created', started: null, finished: null }
    } catch (error) {
      if (isHakuError(error, 'container.name_taken')) return await adoptNamesake(run, services, error)
      if (!isHakuError(error)) throw error
      if (error.code !== 'image.not_found' || attempt > 1) throw new TaskFailure('start_failed', error)
    }
    await services.images.forget(run.record.order)
  }
}

/** The task's container on this node's Engine, if there is one and it is ours. */
export async function findTaskContainer(run: TaskRun, { engine, closing, hostname }: ExecutorServices): Promise<TaskContainer | undefined> {
  const found = await untilEngineAnswers(run, closing, () => engine.inspectContainer(run.record.containerId ?? taskContainerName(run.id)))
  const isOurs = found?.labels[labels.task] === run.id && found.labels[labels.node] === hostname
  return isOurs ? found : undefined
}

// --- internal ---

async function ensureImage(run: TaskRun, { images }: ExecutorServices): Promise<string> {
  try {
    const options = { signal: run.interrupted, onProgress: (sync: SyncProgress) => run.report({ state: 'syncing', sync }), onTrouble: run.tell }
    return await untilEngineAnswers(run, run.interrupted, () => images.ensure(run.record.order, options))
  } catch (error) {
    if (!isHakuError(error)) throw error
    // A second look would find the same: the Host keeps everybody from it.
    if (error.code === 'tarball.damaged') run.report({ damage: error.message.slice(0, MAX_DAMAGE) })
    throw new TaskFailure('sync_failed', error)
  }
}

async function adoptNamesake(run: TaskRun, services: ExecutorServices, error: unknown): Promise<TaskContainer> {
  const found = await findTaskContainer(run, services)
  if (!found) throw new TaskFailure('start_failed', error)
  return found
}

function toSpec({ id, record: { order } }: TaskRun, { hostname }: ExecutorServices, { image, mounts }: Pick<ContainerSpec, 'image' | 'mounts'>): ContainerSpec {
  return {
    name: taskContainerName(id),
    image,
    command: order.command,
    env: { ...order.env, HAKURIVER_TASK_ID: id, HAKURIVER_NODE: hostname, HAKURIVER_ENVIRONMENT: order.environment },
    labels: { [labels.task]: id, [labels.node]: hostname, [labels.environment]: order.environment, [labels.version]: String(order.version) },
    mounts,
    workdir: SHARED_MOUNT,
    network: order.network,
    cores: order.cores,
    ...(order.memoryBytes !== null && { memoryBytes: order.memoryBytes }),
    pidsLimit: PIDS_LIMIT,
    privileged: order.privileged,
    logs: 'lossless',
  }
}
