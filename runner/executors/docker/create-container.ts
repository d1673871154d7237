import type { Execution, SyncProgress, VersionOrder } from '#core/api/schemas.ts'
import type { ContainerDetails, ContainerSpec, ContainerStatus } from '#core/engine/engine.ts'
import { isHakuError } from '#core/errors.ts'
import { labels, taskContainerName } from '#core/paths.ts'
import type { Found } from '../executor.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { untilEngineAnswers } from './engine-retry.ts'
import { resolveMounts } from './mounts.ts'
import type { ContainerServices } from './services.ts'
import { taskSpec } from './spec.ts'

/** What the contract takes. */
const MAX_DAMAGE = 4096

/** A container of a task: made just now, or found. */
export interface TaskContainer extends Found {
  id: string
}

/**
 * Step: the version's image on this node, and the container made from it.
 *
 * The container's name is the lock: a second start of the same execution finds the first one's container.
 */
export async function createTaskContainer(run: TaskRun, services: ContainerServices): Promise<TaskContainer> {
  await services.cpus.take(run.record)
  const id = await createFromImage(run, services, async (image) => taskSpec(run, services, { image, mounts: await resolveMounts(run, services) }))
  return id === undefined ? adoptNamesake(run, services) : { id, status: 'created', started: null, finished: null }
}

/**
 * A container from the image of the order's version, which is loaded if need be; `undefined`: its name is taken.
 *
 * The image is not looked up before each use. One that was removed behind our back shows when the container is made, and is loaded again.
 */
export async function createFromImage(run: TaskRun, services: ContainerServices, toSpec: (image: string) => Promise<ContainerSpec>): Promise<string | undefined> {
  const order = imageOrder(run)
  for (let attempt = 1; ; attempt++) {
    const image = await ensureImage(run, order, services)
    try {
      return await untilEngineAnswers(run, run.interrupted, async () => services.engine.createContainer(await toSpec(image)))
    } catch (error) {
      if (isHakuError(error, 'container.name_taken')) return undefined
      if (!isHakuError(error)) throw error
      if (error.code !== 'image.not_found' || attempt > 1) throw new TaskFailure('start_failed', error)
    }
    await services.images.forget(order)
  }
}

/** The execution's container on this node's Engine, by its handle if it has one, if there is one and it is ours. */
export async function findTaskContainer(run: TaskRun, services: ContainerServices): Promise<TaskContainer | undefined> {
  const { order, handle } = run.record
  const found = await untilEngineAnswers(run, services.closing, () => findOwnContainer(order, services, handle))
  return found && { id: found.id, started: found.started, finished: found.finished, status: foundStatus(found.status) }
}

/** The same, asked once. @throws `engine.*` */
export async function findOwnContainer({ id, instance }: Execution, { engine, hostname }: Pick<ContainerServices, 'engine' | 'hostname'>, handle: string | null = null): Promise<ContainerDetails | undefined> {
  const found = await engine.inspectContainer(handle ?? taskContainerName(id, instance))
  const isOurs = found?.labels[labels.task] === id && instanceOf(found) === instance && found.labels[labels.node] === hostname
  return isOurs ? found : undefined
}

/** Which instance a container with our labels is of: the first did not have the label before there were more. */
export function instanceOf(found: Pick<ContainerDetails, 'labels'>): number {
  return Number(found.labels[labels.instance] ?? 1)
}

// --- internal ---

function foundStatus(status: ContainerStatus): Found['status'] {
  if (status === 'created' || status === 'running' || status === 'paused') return status
  return status === 'restarting' ? 'running' : 'ended'
}

function imageOrder({ record: { order } }: TaskRun): VersionOrder {
  if (order.image) return order.image
  throw new TaskFailure('start_failed', new Error('The order names no image to make a container from.'))
}

async function ensureImage(run: TaskRun, order: VersionOrder, { images }: ContainerServices): Promise<string> {
  try {
    const options = { signal: run.interrupted, onProgress: (sync: SyncProgress) => run.report({ state: 'syncing', sync }), onTrouble: run.tell }
    return await untilEngineAnswers(run, run.interrupted, () => images.ensure(order, options))
  } catch (error) {
    if (!isHakuError(error)) throw error
    // A second look would find the same: the Host keeps everybody from it.
    if (error.code === 'tarball.damaged') run.report({ damage: error.message.slice(0, MAX_DAMAGE) })
    throw new TaskFailure('sync_failed', error)
  }
}

async function adoptNamesake(run: TaskRun, services: ContainerServices): Promise<TaskContainer> {
  const found = await findTaskContainer(run, services)
  if (found) return found
  const { id, instance } = run.record.order
  throw new TaskFailure('start_failed', new Error(`A container named ${taskContainerName(id, instance)} is on this node and is not of this Runner. Remove it with docker, or give the task to another node.`))
}
