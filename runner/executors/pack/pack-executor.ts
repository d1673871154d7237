import { setTimeout } from 'node:timers/promises'
import type { Readable } from 'node:stream'
import type { ExecDetails } from '#core/engine/engine.ts'
import { HakuError, isHakuError } from '#core/errors.ts'
import { executionKey } from '../../state/state.ts'
import { readStatus } from '../../processes/proc.ts'
import { untilEngineAnswers } from '../docker/engine-retry.ts'
import { openOutputStream } from '../docker/output-stream.ts'
import { runningMs } from '../docker/running-time.ts'
import { classifyStartFailure } from '../docker/start-container.ts'
import { type Executor, type Exit, type Found, OutputLost, type OutputStream } from '../executor.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { readExecFailure } from './exec-failure.ts'
import { formatHandle, type ItemHandle, type PackServices, parseHandle } from './services.ts'
import { freezeItem, type Item, killItem, signalItem } from './signal-item.ts'
import { itemSpec } from './spec.ts'

/** Items that share containers: a process in one each. The handle is the container's id and the Engine's for the process. */
export function createPackExecutor(services: PackServices): Executor {
  const { engine, state, warm, closing, hostname } = services
  /** Streams that have not ended: their end tells of the item's. */
  const streams = new Map<string, Promise<unknown>>()

  const inspect = (run: TaskRun) => untilEngineAnswers(run, closing, () => engine.inspectExec(handleOf(run).execId))
  const itemOf = (run: TaskRun, pid: number): Item => ({ ...handleOf(run), pid, id: run.id })

  async function createExec(run: TaskRun, isLast: boolean): Promise<ItemHandle | undefined> {
    const containerId = await warm.use(run)
    try {
      const execId = await untilEngineAnswers(run, run.interrupted, () => engine.createExec(containerId, itemSpec(run.record.order, hostname)))
      return { containerId, execId }
    } catch (error) {
      warm.leave(run.key)
      if (!isHakuError(error)) throw error
      if (isLast || !isHakuError(error, 'container.not_running', 'container.not_found')) throw new TaskFailure('start_failed', error)
      warm.lost(containerId)
      return undefined
    }
  }

  async function startOnce(run: TaskRun): Promise<Readable | undefined> {
    for (;;) {
      try {
        return await engine.startExec(handleOf(run).execId)
      } catch (error) {
        if (!isHakuError(error, 'engine.unavailable')) throw startFailure(error)
      }
      // It may have started before the Engine's answer was lost, and it must not run twice.
      const details = await inspect(run)
      if (details?.status !== 'created') return undefined
    }
  }

  /** Of the whole container: the Engine ends all that runs in one together with it. */
  async function hasContainerEnded(run: TaskRun): Promise<boolean> {
    const container = await untilEngineAnswers(run, closing, () => engine.inspectContainer(handleOf(run).containerId))
    return container?.status !== 'running' && container?.status !== 'paused'
  }

  async function judgeExit(run: TaskRun, details: ExecDetails | undefined): Promise<Exit> {
    // What it has started ends with it, as in a container of its own.
    await killItem(engine, itemOf(run, details?.pid ?? 0))
    if (!details) return unknownExit('The Docker Engine does not know any more how the item ended: it was restarted, or the Runner was away for minutes.')
    const { exitCode } = details
    if (exitCode === undefined) return unknownExit('The Docker Engine does not say how the item ended.')
    if (exitCode === KILLED && (await hasContainerEnded(run))) return unknownExit('The container that items share ended while the item ran in it.')
    return { exitCode, interrupted: false }
  }

  return {
    keepsOutput: false,

    // A container with processes that nobody remembers is never used again: see `warm.use`.
    removeEarlier: () => Promise.resolve(),

    async find(run): Promise<Found | undefined> {
      const handle = parseHandle(run.record.handle)
      if (!handle) return undefined
      const details = await inspect(run)
      if (!details || details.status === 'ended') return { status: 'ended', started: null, finished: null }
      warm.join(run, handle.containerId)
      const isPaused = details.status === 'running' && readStatus(details.pid)?.isStopped
      return { status: isPaused ? 'paused' : details.status, started: null, finished: null }
    },

    async create(run): Promise<Found> {
      const handle = (await createExec(run, false)) ?? (await createExec(run, true))
      if (!handle) throw new Error('an item was not made, and nothing says why')
      run.record.handle = formatHandle(handle)
      // No name leads to a process in a container: it must not start before its handle is on the disk.
      await state.save(run.record)
      return { status: 'created', started: null, finished: null }
    },

    async start(run): Promise<OutputStream | undefined> {
      const stream = await startOnce(run).catch((error: unknown) => {
        warm.leave(run.key)
        throw error
      })
      if (!stream) return undefined
      streams.set(run.key, new Promise((resolve) => stream.once('close', resolve)))
      return openOutputStream(stream)
    },

    async wait(run): Promise<Exit> {
      const stream = streams.get(run.key) ?? NEVER
      let hasEnded = false
      stream.then(() => (hasEnded = true), () => undefined)
      try {
        for (let pause = FIRST_POLL_MS; ; pause = hasEnded ? Math.min(pause * 2, POLL_MS) : FIRST_POLL_MS) {
          const details = await inspect(run)
          if (details?.status !== 'running') return await judgeExit(run, details)
          // A process in the background may keep the stream open for as long as it likes.
          await (hasEnded ? setTimeout(pause, undefined, { signal: closing }) : Promise.race([stream, setTimeout(POLL_MS, undefined, { signal: closing, ref: false })]))
        }
      } finally {
        streams.delete(run.key)
        warm.leave(run.key)
      }
    },

    readOutput: () => Promise.reject(new OutputLost('the Runner or its connection to the Docker Engine was cut off while the item ran, and a container that items share keeps no log')),

    async lookInto(run, { exitCode, sizes }) {
      const commandFailure = await readExecFailure(exitCode, sizes, services.paths, run.record.order)
      if (commandFailure) return { outOfMemory: false, commandFailure: commandFailure.words, exitCode: commandFailure.exitCode }
      const { containerId } = handleOf(run)
      const [details, container] = [await inspect(run), await untilEngineAnswers(run, closing, () => engine.inspectContainer(containerId))]
      return { outOfMemory: services.outOfMemory.happenedToItem({ id: containerId, pid: details?.pid ?? 0, exitCode, outOfMemory: container?.outOfMemory ?? false, memoryBytes: run.record.order.memoryBytes }) }
    },

    async runningMs(run) {
      const details = await inspect(run)
      return runningMs({ id: handleOf(run).containerId, pid: details?.pid ?? 0, started: run.record.report.started })
    },

    async signal(run, signal) {
      const details = await inspect(run)
      if (details?.status !== 'running') return
      const item = itemOf(run, details.pid)
      await untilEngineAnswers(run, closing, () => (signal === 'SIGKILL' ? killItem(engine, item) : signalItem(engine, item, signal)))
    },

    pause: (run) => freeze(run, 'pause'),
    resume: (run) => freeze(run, 'resume'),

    remove({ order }) {
      warm.leave(executionKey(order))
      return Promise.resolve()
    },
  }

  async function freeze(run: TaskRun, action: 'pause' | 'resume'): Promise<void> {
    const details = await engine.inspectExec(handleOf(run).execId)
    if (details?.status !== 'running') throw new HakuError('engine.conflict', 'The item has ended.')
    await freezeItem(engine, itemOf(run, details.pid), action)
  }
}

// --- internal ---

const NEVER = new Promise<never>(() => undefined)
/** 128 + SIGKILL. */
const KILLED = 137
/** The Engine notes the end a moment after the last byte. */
const FIRST_POLL_MS = 2
const POLL_MS = 2000

function handleOf({ record: { handle } }: TaskRun): ItemHandle {
  const parsed = parseHandle(handle)
  if (!parsed) throw new Error('an item is asked for before it was made')
  return parsed
}

function unknownExit(message: string): Exit {
  return { exitCode: null, interrupted: false, message, reason: 'engine_failed' }
}

function startFailure(error: unknown): unknown {
  if (!isHakuError(error)) return error
  if (isHakuError(error, 'container.not_running', 'container.not_found', 'engine.not_found')) return new TaskFailure('engine_failed', new Error('The container that items share ended before the item had started in it.', { cause: error }))
  const { reason, exitCode } = classifyStartFailure(error.message)
  return new TaskFailure(reason, error, exitCode)
}
