import { mkdir, rm } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { labels, pipesDirectory } from '#core/paths.ts'
import { isFinal } from '#core/tasks/states.ts'
import { withSignal } from '../../sync/sync.ts'
import { createFromImage } from '../docker/create-container.ts'
import { untilEngineAnswers } from '../docker/engine-retry.ts'
import { resolveMounts } from '../docker/mounts.ts'
import type { ContainerServices } from '../docker/services.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { type AgentRuntime, PIPES_MOUNT } from './agent/runtime.ts'
import type { AgentLaunch } from './keeper/protocol.ts'
import type { Keeper } from './create-keeper.ts'
import { parseHandle } from './services.ts'
import { sharedLimits, warmName, warmSpec } from './spec.ts'

/** Containers that items share. Each goes some seconds after its last item. */
export interface WarmContainers {
  /** A container for this item, with an agent; it stays until the item {@link leave leaves}. @throws `TaskFailure`, {@link NoAgent} */
  use(run: TaskRun): Promise<AgentLaunch>
  /** An item is in this container already. */
  join(run: TaskRun, containerId: string): Promise<void>
  /** Idempotent. */
  leave(key: string): void
  /** It does not run any more. */
  lost(containerId: string): void
  /** Removes those of this node that an earlier Runner has left. @throws `engine.*` */
  sweep(): Promise<void>
  /** Removes those that no item is in, once nobody uses this any more. @throws `engine.*` */
  close(): Promise<void>
}

export interface WarmOptions extends ContainerServices {
  keeper: Keeper
  /** Directory for those of the pipes. */
  items: string
  /** What an agent needs. @throws if there can be none on this node */
  runtime(): Promise<AgentRuntime>
}

/** Items can not share containers on this node. */
export class NoAgent extends Error {}

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
  /** Why there can be none. */
  refusal: NoAgent | undefined
}

const IDLE_MS = 10_000

export function createWarmContainers(services: WarmOptions): WarmContainers {
  const { engine, state, hostname, closing, keeper, items } = services
  const containers = new Map<string, Warm>()
  let runtime: Promise<AgentRuntime> | undefined

  function findRuntime(): Promise<AgentRuntime> {
    runtime ??= services.runtime().catch((error: unknown) => {
      console.error(`[hakuriver] [runner] items can not share containers on this node, so each gets its own: ${errorMessage(error)}`)
      throw new NoAgent('Items can not share containers on this node.', { cause: error })
    })
    return runtime
  }

  /** The next ones need not try. */
  function refuse(warm: Warm, error: unknown): NoAgent {
    console.error(`[hakuriver] [runner] items of ${warm.name} can not share a container, so each gets its own: ${errorMessage(error)}`)
    warm.refusal = new NoAgent('These items can not share a container.', { cause: error })
    return warm.refusal
  }

  function enter(run: TaskRun, found: AgentRuntime): Warm {
    const name = warmName(run.record.order, hostname, found)
    const warm = containers.get(name) ?? { name, containerId: undefined, users: new Set<string>(), capacity: 0, turn: Promise.resolve(), idle: undefined, refusal: undefined }
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
        // The sweep comes back to it.
        if (!closing.aborted) console.error(`[hakuriver] [runner] the container ${warm.name} could not be removed: ${errorMessage(error)}`)
        containers.delete(warm.name)
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
      if (warm.containerId !== undefined) await remove(warm.containerId, warm.name)
      warm.containerId = undefined
      if (warm.users.size === 0) containers.delete(warm.name)
    })
  }

  async function remove(id: string, name: string): Promise<void> {
    await engine.removeContainer(id)
    await rm(pipesDirectory(items, name), { recursive: true, force: true })
  }

  /** Makes it if need be, and gives it room for one more. */
  async function prepare(warm: Warm, run: TaskRun, found: AgentRuntime): Promise<string> {
    const { order } = run.record
    const wanted = warm.users.size
    if (warm.refusal) throw warm.refusal
    const id = warm.containerId ?? (await takeOver(warm, run)) ?? (await make(warm, run, found))
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
    await untilEngineAnswers(run, run.interrupted, () => remove(found.id, warm.name))
    return undefined
  }

  async function make(warm: Warm, run: TaskRun, found: AgentRuntime): Promise<string> {
    const pipes = pipesDirectory(items, warm.name)
    await mkdir(pipes, { recursive: true, mode: 0o711 })
    const capacity = warm.users.size
    const toSpec = async (image: string) => {
      const mounts = [...(await resolveMounts(run, services)), ...found.mounts, { source: pipes, target: PIPES_MOUNT, readOnly: true }]
      return warmSpec(run.record, services, { name: warm.name, image, mounts, capacity })
    }
    const id = await createFromImage(run, services, toSpec).catch((error: unknown) => {
      // An Engine that does not see our files is on another machine, or we are in a container ourselves.
      const isOurs = error instanceof TaskFailure && [...found.mounts.map(({ source }) => source), pipes].some((file) => error.message.includes(file))
      throw isOurs ? refuse(warm, error) : error
    })
    if (id === undefined) throw new HakuError('engine.conflict', `Somebody else has made the container ${warm.name} just now.`)
    try {
      await untilEngineAnswers(run, closing, () => engine.startContainer(id))
      await keeper.open(launchOf(warm, id, run, found)).catch((error: unknown) => {
        throw isHakuError(error, 'engine.unavailable') ? error : refuse(warm, error)
      })
    } catch (error) {
      await remove(id, warm.name)
      throw error
    }
    warm.capacity = capacity
    return id
  }

  function launchOf({ name }: Warm, containerId: string, { record }: TaskRun, { command }: AgentRuntime): AgentLaunch {
    return { containerId, command, user: record.order.user, pipes: pipesDirectory(items, name) }
  }

  function isReferenced(containerId: string): boolean {
    return state.listActive().some(({ handle, report }) => !isFinal(report.state) && parseHandle(handle) === containerId)
  }

  return {
    async use(run) {
      const found = await findRuntime()
      const warm = enter(run, found)
      try {
        if (warm.refusal) throw warm.refusal
        // Nothing to wait for is the rule.
        const isReady = warm.containerId !== undefined && warm.users.size <= warm.capacity
        const id = isReady && warm.containerId !== undefined ? warm.containerId : await inTurn(warm, run.interrupted, () => prepare(warm, run, found))
        return launchOf(warm, id, run, found)
      } catch (error) {
        leave(run.key)
        throw isHakuError(error) ? new TaskFailure('start_failed', error) : error
      }
    },
    async join(run, containerId) {
      const found = await findRuntime()
      const warm = enter(run, found)
      warm.containerId ??= containerId
    },
    leave,
    lost(containerId) {
      for (const warm of containers.values()) if (warm.containerId === containerId) warm.containerId = undefined
    },
    async sweep() {
      const found = await engine.listContainers({ [labels.pack]: undefined, [labels.node]: hostname })
      for (const { id, name } of found) if (!containers.has(name) && !isReferenced(id)) await remove(id, name)
    },
    async close() {
      await Promise.all([...containers.values()].map((warm) => inTurn(warm, new AbortController().signal, async () => {
        if (warm.containerId !== undefined && !isReferenced(warm.containerId)) await remove(warm.containerId, warm.name)
      })))
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
