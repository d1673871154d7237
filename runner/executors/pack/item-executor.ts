import { mkdir, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type ErrorCode, HakuError, isHakuError } from '#core/errors.ts'
import { processDirectory, type ProcessPaths, processPaths, SHARED_MOUNT } from '#core/paths.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { readStatus } from '../../linux/proc.ts'
import { watchDirectory } from '../../linux/watch.ts'
import type { TaskRecord } from '../../state/state.ts'
import { createBackoff } from '../../backoff.ts'
import { untilEngineAnswers } from '../docker/engine-retry.ts'
import { runningMs } from '../docker/running-time.ts'
import { type Executor, type Exit, type Found, KILLED } from '../executor.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { taskVariables } from '../variables.ts'
import { isKept, readClaim, readEnd, readItemOutput, readStart, writeEnd } from './item-files.ts'
import type { AgentLaunch, ItemOrder } from './keeper/protocol.ts'
import { createOomScores } from './oom-marks.ts'
import { formatHandle, type PackServices, parseHandle } from './services.ts'
import { NoAgent } from './warm-containers.ts'
import { freezeItem, type Item, killItem, signalItem } from './signal-item.ts'

/** Items that share containers: a process in one each, started by an agent in it and kept by a keeper beside the Runner. The handle names the container. */
export function createItemExecutor(services: PackServices): Executor {
  const { engine, warm, keeper, items, closing, hostname } = services
  const pathsOf = ({ order: { id, instance } }: Pick<TaskRecord, 'order'>) => processPaths(processDirectory(items, id, instance))
  const itemOf = (run: TaskRun): Item => ({ containerId: containerOf(run), pid: readStart(pathsOf(run.record))?.pid ?? 0, id: run.id })
  const scores = createOomScores()
  /** Between `create` and `start`. */
  const launches = new Map<string, AgentLaunch>()

  async function use(run: TaskRun): Promise<AgentLaunch> {
    const launch = await warm.use(run)
    run.record.handle = formatHandle(launch.containerId)
    return launch
  }

  function leave(key: string): void {
    warm.leave(key)
    scores.free(key)
  }

  async function startOnce(run: TaskRun, paths: ProcessPaths): Promise<void> {
    const item = toItem(run, paths)
    const backoff = createBackoff({ firstMs: 100, maxMs: 5000 })
    let launch = launches.get(run.key) ?? (await use(run))
    for (let hasMoved = false; ; ) {
      try {
        return await keeper.start(launch, item)
      } catch (error) {
        if (!isHakuError(error)) throw error
        // It may have been started before the answer was lost, and it must not run twice: whoever waits for it finds out.
        if (readClaim(paths)) return
        if (error.code !== 'engine.unavailable' && (hasMoved || !GONE.includes(error.code))) throw new TaskFailure('engine_failed', error)
        if (GONE.includes(error.code)) {
          hasMoved = true
          warm.lost(launch.containerId)
          launch = await use(run)
          continue
        }
        run.tell(error.message)
      }
      await backoff.wait(closing)
    }
  }

  function toItem({ key, record: { order } }: TaskRun, { directory }: ProcessPaths): ItemOrder {
    const { id, command, workdir, maxOutputBytes, memoryBytes } = order
    const mark = { score: memoryBytes === null ? null : scores.take(key), after: services.outOfMemory.position() }
    return { directory, taskId: id, command, env: taskVariables(order, hostname), workdir: workdir ?? SHARED_MOUNT, maxOutputBytes, mark }
  }

  /** Of the whole container: all that runs in one ends together with it. */
  async function hasContainerEnded(run: TaskRun): Promise<boolean> {
    const container = await untilEngineAnswers(run, closing, () => engine.inspectContainer(containerOf(run)))
    return container?.status !== 'running' && container?.status !== 'paused'
  }

  async function judgeEnd(run: TaskRun, exitCode: number | null, note: string | null): Promise<Exit> {
    if (exitCode === null) return { exitCode: null, interrupted: false, message: note ?? 'Nobody knows how the item ended.', reason: 'engine_failed' }
    if (exitCode === KILLED && !run.ending.aborted) {
      // The Engine hears of the end of a container after those in it are dead.
      await setTimeout(RETRY_MS, undefined, { signal: closing })
      if (await hasContainerEnded(run)) return { exitCode: null, interrupted: false, message: 'The container that items share ended while the item ran in it.', reason: 'engine_failed' }
    }
    return { exitCode, interrupted: false }
  }

  return {
    // A container with processes that nobody remembers is never used again: see `warm.use`.
    removeEarlier: () => Promise.resolve(),

    async find(run): Promise<Found | undefined> {
      const paths = pathsOf(run.record)
      const claim = readClaim(paths)
      const containerId = claim?.containerId ?? parseHandle(run.record.handle)
      if (containerId === undefined) return undefined
      run.record.handle = formatHandle(containerId)
      const end = readEnd(paths)
      if (end) return { status: 'ended', started: null, finished: end.finished }
      if (!claim) return { status: 'created', started: null, finished: null }
      if (claim.mark.score !== null) scores.keep(run.key, claim.mark.score)
      // Where there are no agents any more it has at least its own end.
      await warm.join(run, containerId).catch(ignoreNoAgent)
      const start = readStart(paths)
      return { status: start && readStatus(start.pid)?.isStopped ? 'paused' : 'running', started: start?.started ?? null, finished: null }
    },

    async create(run): Promise<Found> {
      launches.set(run.key, await use(run))
      await mkdir(pathsOf(run.record).directory, { recursive: true, mode: 0o700 })
      return { status: 'created', started: null, finished: null }
    },

    async start(run) {
      const paths = pathsOf(run.record)
      try {
        await startOnce(run, paths)
        return readItemOutput(paths, { follow: true, closing })
      } catch (error) {
        leave(run.key)
        throw error
      } finally {
        launches.delete(run.key)
      }
    },

    async wait(run): Promise<Exit> {
      const paths = pathsOf(run.record)
      const watch = watchDirectory(paths.directory, [basename(paths.ended)])
      try {
        for (;;) {
          const isHeld = isKept(paths)
          const end = readEnd(paths)
          if (end) return await judgeEnd(run, end.exitCode, end.note)
          if (isHeld) await watch.next(closing)
          else {
            await killItem(engine, itemOf(run))
            writeEnd(paths, { exitCode: null, note: KEEPER_LOST })
          }
        }
      } finally {
        watch.close()
        leave(run.key)
      }
    },

    readOutput: (run, { follow }) => Promise.resolve(readItemOutput(pathsOf(run.record), { follow, closing })),

    async lookInto(run) {
      const { containerId: id, pid } = itemOf(run)
      const mark = readClaim(pathsOf(run.record))?.mark
      if (!mark) return 'gone'
      const container = await untilEngineAnswers(run, closing, () => engine.inspectContainer(id))
      const answer = services.outOfMemory.happenedToItem({ id, pid, mark, outOfMemory: container?.outOfMemory ?? false })
      return { outOfMemory: answer === 'yes', note: answer === 'unknown' ? MEMORY_UNKNOWN : undefined }
    },

    runningMs(run) {
      const { containerId: id, pid } = itemOf(run)
      return Promise.resolve(runningMs({ id, pid, started: run.record.report.started }))
    },

    async signal(run, signal) {
      if (readEnd(pathsOf(run.record))) return
      await untilEngineAnswers(run, closing, () => (signal === 'SIGKILL' ? killItem(engine, itemOf(run)) : signalItem(engine, itemOf(run), signal)))
    },

    pause: (run) => freeze(run, 'pause'),
    resume: (run) => freeze(run, 'resume'),

    async remove(record) {
      const key = executionKey(record.order)
      launches.delete(key)
      leave(key)
      await rm(pathsOf(record).directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }

  async function freeze(run: TaskRun, action: 'pause' | 'resume'): Promise<void> {
    if (readEnd(pathsOf(run.record))) throw new HakuError('engine.conflict', 'The item has ended.')
    if (!(await freezeItem(engine, itemOf(run), action))) throw new HakuError('engine.conflict', 'The item has ended, or this Runner does not see its processes: then it runs on another machine than the Docker Engine.')
  }
}

// --- internal ---

const RETRY_MS = 100
const KEEPER_LOST = 'The keeper of the item was ended from outside on the node, so the item was ended too.'
const MEMORY_UNKNOWN = 'Something in the container that items share was ended for want of memory. Whether it was of this item is not known.'
const GONE: readonly ErrorCode[] = ['container.not_running', 'container.not_found']

function ignoreNoAgent(error: unknown): void {
  if (!(error instanceof NoAgent)) throw error
}

function containerOf({ record: { handle } }: TaskRun): string {
  const containerId = parseHandle(handle)
  if (containerId === undefined) throw new Error('an item is asked for before it was made')
  return containerId
}
