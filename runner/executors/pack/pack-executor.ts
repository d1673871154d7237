import { mkdir, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type ErrorCode, HakuError, isHakuError } from '#core/errors.ts'
import { processDirectory, type ProcessPaths, processPaths } from '#core/paths.ts'
import { readStatus } from '../../processes/proc.ts'
import { watchDirectory } from '../../processes/watch.ts'
import { executionKey, type TaskRecord } from '../../state/state.ts'
import { untilEngineAnswers } from '../docker/engine-retry.ts'
import { runningMs } from '../docker/running-time.ts'
import { classifyStartFailure } from '../docker/start-container.ts'
import type { Executor, Exit, Found, OutputStream } from '../executor.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { readExecFailure } from './exec-failure.ts'
import { isKept, readEnd, readItemOutput, unclaimItem, writeEnd } from './item-files.ts'
import { formatHandle, type ItemHandle, type PackServices, parseHandle } from './services.ts'
import { freezeItem, type Item, killItem, signalItem } from './signal-item.ts'
import { itemSpec } from './spec.ts'

/** Items that share containers: a process in one each. The handle is the container's id and the Engine's for the process. */
export function createPackExecutor(services: PackServices): Executor {
  const { engine, state, warm, keeper, items, closing, hostname } = services
  const pathsOf = ({ order: { id, instance } }: Pick<TaskRecord, 'order'>) => processPaths(processDirectory(items, id, instance))
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
      if (isLast || !GONE.includes(error.code)) throw new TaskFailure('start_failed', error)
      warm.lost(containerId)
      return undefined
    }
  }

  async function startOnce(run: TaskRun, paths: ProcessPaths): Promise<void> {
    const { order } = run.record
    for (;;) {
      try {
        return await keeper.start({ ...handleOf(run), directory: paths.directory, taskId: order.id, maxOutputBytes: order.maxOutputBytes })
      } catch (error) {
        if (!isHakuError(error, 'engine.unavailable', 'engine.conflict')) throw startFailure(error)
      }
      // It may have been started before the answer was lost, and it must not run twice.
      const details = await inspect(run)
      if (details?.status !== 'created') return
      if (isKept(paths)) await setTimeout(RETRY_MS, undefined, { signal: closing })
      else unclaimItem(paths)
    }
  }

  /** Of the whole container: the Engine ends all that runs in one together with it. */
  async function hasContainerEnded(run: TaskRun): Promise<boolean> {
    const container = await untilEngineAnswers(run, closing, () => engine.inspectContainer(handleOf(run).containerId))
    return container?.status !== 'running' && container?.status !== 'paused'
  }

  async function judgeEnd(run: TaskRun, exitCode: number | null, note: string | null): Promise<Exit> {
    if (exitCode === null) return unknownExit(note ?? 'The Docker Engine does not say how the item ended.')
    if (exitCode === KILLED && !run.ending.aborted) {
      // The Engine hears of the end of a container after it has heard of the ends of those in it.
      await setTimeout(RETRY_MS, undefined, { signal: closing })
      if (await hasContainerEnded(run)) return unknownExit('The container that items share ended while the item ran in it.')
    }
    return { exitCode, interrupted: false }
  }

  /** Without a keeper there is only the Engine to ask. Resolves to `false` while it runs. */
  async function endUnkept(run: TaskRun, paths: ProcessPaths): Promise<boolean> {
    const details = await inspect(run)
    const { containerId } = handleOf(run)
    // An Engine that can not get rid of its output says of a process that runs that it has ended with this code.
    const isDoubtful = details?.exitCode === CAN_NOT_EXECUTE
    if (details?.status === 'running' || (isDoubtful && readStatus(details.pid) !== undefined)) return false
    if (readEnd(paths)) return true
    await killItem(engine, { containerId, pid: details?.pid ?? 0, id: run.id })
    writeEnd(paths, isDoubtful || !details ? { exitCode: null, note: `${KEEPER_LOST}, and nobody knows how the item ended.` } : { exitCode: details.exitCode ?? null, note: `${KEEPER_LOST} while the item ran` })
    return true
  }

  return {
    // A container with processes that nobody remembers is never used again: see `warm.use`.
    removeEarlier: () => Promise.resolve(),

    async find(run): Promise<Found | undefined> {
      const handle = parseHandle(run.record.handle)
      if (!handle) return undefined
      const paths = pathsOf(run.record)
      const end = readEnd(paths)
      if (end) return { status: 'ended', started: null, finished: end.finished }
      const details = await inspect(run)
      const isStarted = isKept(paths) || (details !== undefined && details.status !== 'created')
      if (details && details.status !== 'ended') warm.join(run, handle.containerId)
      if (!isStarted && details) return { status: 'created', started: null, finished: null }
      return { status: details?.status === 'running' && readStatus(details.pid)?.isStopped ? 'paused' : 'running', started: null, finished: null }
    },

    async create(run): Promise<Found> {
      const handle = (await createExec(run, false)) ?? (await createExec(run, true))
      if (!handle) throw new Error('an item was not made, and nothing says why')
      run.record.handle = formatHandle(handle)
      const { directory } = pathsOf(run.record)
      await mkdir(directory, { recursive: true, mode: 0o700 })
      // No name leads to a process in a container: it must not start before its handle is on the disk.
      await state.save(run.record)
      return { status: 'created', started: null, finished: null }
    },

    async start(run): Promise<OutputStream | undefined> {
      const paths = pathsOf(run.record)
      try {
        await startOnce(run, paths)
        return readItemOutput(paths, { follow: true, closing })
      } catch (error) {
        warm.leave(run.key)
        throw error
      }
    },

    async wait(run): Promise<Exit> {
      const paths = pathsOf(run.record)
      const watch = watchDirectory(paths.directory, [basename(paths.ended)])
      try {
        for (;;) {
          const end = readEnd(paths)
          if (end) return await judgeEnd(run, end.exitCode, end.note)
          if (isKept(paths) || !(await endUnkept(run, paths))) await watch.next(closing)
        }
      } finally {
        watch.close()
        warm.leave(run.key)
      }
    },

    readOutput: (run, { follow }) => Promise.resolve(readItemOutput(pathsOf(run.record), { follow, closing })),

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

    async remove(record) {
      warm.leave(executionKey(record.order))
      await rm(pathsOf(record).directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }

  async function freeze(run: TaskRun, action: 'pause' | 'resume'): Promise<void> {
    const { execId } = handleOf(run)
    for (let waited = 0; waited < START_MS; waited += POLL_MS) {
      const details = await engine.inspectExec(execId)
      if (details?.status !== 'running') throw new HakuError('engine.conflict', 'The item has ended.')
      // In the moment of its start there is nothing yet that could be stopped.
      if (await freezeItem(engine, itemOf(run, details.pid), action)) return
      await setTimeout(POLL_MS, undefined, { signal: closing })
    }
    throw new HakuError('engine.conflict', 'This Runner does not see the processes of the item: it runs on another machine than the Docker Engine, or may not look at them.')
  }
}

// --- internal ---

const GONE: readonly ErrorCode[] = ['container.not_running', 'container.not_found', 'engine.not_found']
/** 128 + SIGKILL. */
const KILLED = 137
const CAN_NOT_EXECUTE = 126
const RETRY_MS = 100
const POLL_MS = 20
const START_MS = 5000
const KEEPER_LOST = 'The keeper of its output was ended from outside'

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
  if (GONE.includes(error.code)) return new TaskFailure('engine_failed', new Error('The container that items share ended before the item had started in it.', { cause: error }))
  const { reason, exitCode } = classifyStartFailure(error.message)
  return new TaskFailure(reason, error, exitCode)
}
