import { setTimeout } from 'node:timers/promises'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { labels } from '#core/paths.ts'
import { isFinal } from '#core/tasks/states.ts'
import { withSignal } from '../../sync/sync.ts'
import { createFromImage } from '../docker/create-container.ts'
import { untilEngineAnswers } from '../docker/engine-retry.ts'
import { resolveMounts } from '../docker/mounts.ts'
import type { ContainerServices } from '../docker/services.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { parseHandle } from './services.ts'
import { sharedLimits, warmName, warmSpec } from './spec.ts'

/** Containers that items share. Each goes some seconds after its last item. */
export interface WarmContainers {
  /** The id of a running container for this item, which keeps it until it {@link leave leaves}. @throws `TaskFailure` */
  use(run: TaskRun): Promise<string>
  /** An item is in this container already. */
  join(run: TaskRun, containerId: string): void
  /** Idempotent. */
  leave(key: string): void
  /** It does not run any more. */
  lost(containerId: string): void
  /** Removes those of this node that an earlier Runner has left. @throws `engine.*` */
  sweep(): Promise<void>
}

interface Warm {
  name: string
  /** `undefined`: there is none now. */
  containerId: string | undefined
  users: Set<string>
  /** For how many items at once its limits are. */
  capacity: number
  /** Resolves when nobody makes, changes or removes it. */
  turn: Promise<unknown>
  idle: AbortController | undefined
}

const IDLE_MS = 10_000

export function createWarmContainers(services: ContainerServices): WarmContainers {
  const { engine, state, hostname, closing } = services
  const containers = new Map<string, Warm>()

  function enter(run: TaskRun): Warm {
    const name = warmName(run.record.order, hostname)
    const warm = containers.get(name) ?? { name, containerId: undefined, users: new Set<string>(), capacity: 0, turn: Promise.resolve(), idle: undefined }
    containers.set(name, warm)
    warm.users.add(run.key)
    warm.idle?.abort()
    return warm
  }

  function leave(key: string): void {
    for (const warm of containers.values()) {
      if (!warm.users.delete(key) || warm.users.size > 0 || closing.aborted) continue
      warm.idle = new AbortController()
      removeIdle(warm, AbortSignal.any([closing, warm.idle.signal])).catch((error: unknown) => {
        // The sweep after the next start comes back to it.
        if (!closing.aborted) console.error(`[hakuriver] [runner] the container ${warm.name} could not be removed: ${errorMessage(error)}`)
      })
    }
  }

  async function removeIdle(warm: Warm, interrupted: AbortSignal): Promise<void> {
    try {
      await setTimeout(IDLE_MS, undefined, { signal: interrupted, ref: false })
    } catch {
      return
    }
    await inTurn(warm, closing, async () => {
      if (warm.users.size > 0) return
      if (warm.containerId !== undefined) await engine.removeContainer(warm.containerId)
      warm.containerId = undefined
      if (warm.users.size === 0) containers.delete(warm.name)
    })
  }

  /** Makes it if need be, and gives it room for one more. */
  async function prepare(warm: Warm, run: TaskRun): Promise<string> {
    const { order } = run.record
    const wanted = warm.users.size
    const id = warm.containerId ?? (await takeOver(warm, run)) ?? (await make(warm, run))
    warm.containerId = id
    if (wanted <= warm.capacity) return id
    if (order.cores > 0 || order.memoryBytes !== null) {
      await untilEngineAnswers(run, run.interrupted, async () => engine.limitContainer(id, sharedLimits(order, wanted, (await engine.info()).cores)))
    }
    warm.capacity = wanted
    return id
  }

  /** One with items that an earlier Runner has started. Any other may hold processes that nobody knows of: it goes. */
  async function takeOver(warm: Warm, run: TaskRun): Promise<string | undefined> {
    const found = await untilEngineAnswers(run, run.interrupted, () => engine.inspectContainer(warm.name))
    if (!found) return undefined
    if (found.labels[labels.node] !== hostname || found.labels[labels.pack] === undefined) throw new TaskFailure('start_failed', new Error(`A container named ${warm.name} is on this node and is not of this Runner. Remove it with docker.`))
    if (found.status === 'running' && isReferenced(found.id)) return found.id
    await untilEngineAnswers(run, run.interrupted, () => engine.removeContainer(found.id))
    return undefined
  }

  async function make(warm: Warm, run: TaskRun): Promise<string> {
    const mounts = await resolveMounts(run, services)
    const capacity = warm.users.size
    const id = await createFromImage(run, services, (image) => warmSpec(run.record, services, { name: warm.name, image, mounts, capacity }))
    if (id === undefined) throw new HakuError('engine.conflict', `Somebody else has made the container ${warm.name} just now.`)
    await untilEngineAnswers(run, closing, () => engine.startContainer(id))
    warm.capacity = capacity
    return id
  }

  function isReferenced(containerId: string): boolean {
    return state.listActive().some(({ handle, report }) => !isFinal(report.state) && parseHandle(handle)?.containerId === containerId)
  }

  return {
    async use(run) {
      const warm = enter(run)
      try {
        // Nothing to wait for is the rule.
        if (warm.containerId !== undefined && warm.users.size <= warm.capacity) return warm.containerId
        return await inTurn(warm, run.interrupted, () => prepare(warm, run))
      } catch (error) {
        leave(run.key)
        throw isHakuError(error) ? new TaskFailure('start_failed', error) : error
      }
    },
    join(run, containerId) {
      const warm = enter(run)
      warm.containerId ??= containerId
    },
    leave,
    lost(containerId) {
      for (const warm of containers.values()) if (warm.containerId === containerId) warm.containerId = undefined
    },
    async sweep() {
      const found = await engine.listContainers({ [labels.pack]: undefined, [labels.node]: hostname })
      for (const { id, name } of found) if (!containers.has(name) && !isReferenced(id)) await engine.removeContainer(id)
    },
  }
}

// --- internal ---

/** One after the other. Whoever gives up waiting lets the next one go on in his turn. */
async function inTurn<T>(warm: Warm, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  let finish: () => void = () => undefined
  const mine = new Promise<void>((resolve) => (finish = resolve))
  const { turn } = warm
  warm.turn = turn.then(() => mine)
  try {
    await withSignal(turn, signal)
    return await work()
  } finally {
    finish()
  }
}
