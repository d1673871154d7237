import { errorMessage, isHakuError } from '#core/errors.ts'
import { labels } from '#core/paths.ts'
import type { TaskRecord } from '../../state/state.ts'
import { type EndDetails, type Executor, OutputLost, type OutputStream } from '../executor.ts'
import { TaskFailure } from '../task-failure.ts'
import type { TaskRun } from '../task-run.ts'
import { createTaskContainer, findOwnContainer, findTaskContainer, instanceOf } from './create-container.ts'
import { untilEngineAnswers } from './engine-retry.ts'
import { waitForExit } from './exit.ts'
import { endHalfStarted } from './half-started.ts'
import { readInitFailure } from './init-failure.ts'
import { openOutputStream } from './output-stream.ts'
import { runningMs } from './running-time.ts'
import type { ContainerServices } from './services.ts'
import { startTaskContainer } from './start-container.ts'

/** Executions in a container each. The handle is the container's id. */
export function createContainerExecutor(services: ContainerServices): Executor {
  const { engine, closing, hostname } = services

  return {
    async removeEarlier(run) {
      const found = await untilEngineAnswers(run, run.interrupted, () => engine.listContainers({ [labels.task]: run.id, [labels.node]: hostname }))
      for (const container of found) {
        if (instanceOf(container) < run.record.order.instance) await untilEngineAnswers(run, run.interrupted, () => engine.removeContainer(container.id)).catch(asFailure)
      }
    },

    async find(run) {
      const found = await findTaskContainer(run, services)
      if (found) run.record.handle = found.id
      return found
    },

    async create(run) {
      const container = await createTaskContainer(run, services).catch((error: unknown) => removeAndThrow(run, error))
      run.record.handle = container.id
      return container
    },

    async start(run): Promise<OutputStream | undefined> {
      for (let attempt = 1; ; attempt += 1) {
        const stream = await startTaskContainer(run, services, idOf(run)).catch((error: unknown) => removeAndThrow(run, error))
        if (stream !== 'half-started') return stream && openOutputStream(stream)
        if (attempt === MOST_ATTEMPTS) return removeAndThrow(run, new TaskFailure('engine_failed', new Error(`The Docker Engine was restarted in the middle of ${MOST_ATTEMPTS} starts of the task, or says so. Its log tells more.`)))
        await makeAnew(run)
      }
    },

    wait: (run) => waitForExit(run, services, idOf(run)),

    async readOutput(run, { follow }) {
      try {
        return openOutputStream(await engine.readLogs(idOf(run), { follow }), { isLog: true })
      } catch (error) {
        throw isHakuError(error, 'container.not_found') ? new OutputLost('the container was removed before all of its output was read', { cause: error }) : error
      }
    },

    async lookInto(run, { exitCode, sizes }): Promise<EndDetails | 'gone'> {
      const id = idOf(run)
      const inspect = () => untilEngineAnswers(run, closing, () => engine.inspectContainer(id))
      const details = await inspect()
      // Removing it by force ends it first, with an exit code that is none of the task's.
      if (!details || details.status === 'removing') return 'gone'
      const { order } = run.record
      const outOfMemory = await services.outOfMemory.happened({ id, exitCode, outOfMemory: details.outOfMemory, memoryBytes: order.memoryBytes, finished: details.finished }, inspect)
      return { outOfMemory, commandFailure: await readInitFailure(exitCode, sizes, services.paths.stderr(order.id, order.instance)) }
    },

    async runningMs(run) {
      const details = await untilEngineAnswers(run, closing, () => engine.inspectContainer(idOf(run)))
      return details ? runningMs(details) : 0
    },

    async signal(run, signal) {
      await untilEngineAnswers(run, closing, () => sendSignal(run, signal))
    },

    pause: (run) => engine.pauseContainer(idOf(run)),
    resume: (run) => engine.unpauseContainer(idOf(run)),
    remove,
  }

  async function remove(record: TaskRecord): Promise<void> {
    // One that has the name may be somebody else's.
    const id = record.handle ?? (await findOwnContainer(record.order, services))?.id
    if (id === undefined) return
    if (record.report.started === null) endHalfStarted(id)
    await engine.removeContainer(id)
  }

  /** In the place of a container that can not be started any more. A crash at any point of this leaves what begins it again. */
  async function makeAnew(run: TaskRun): Promise<void> {
    const id = idOf(run)
    console.error(`[hakuriver] [runner] task ${run.id}: the Docker Engine was restarted while it started container ${id}. Another one takes its place`)
    run.record.handle = null
    await services.state.save(run.record)
    if (endHalfStarted(id)) throw new TaskFailure('engine_failed', new Error('The Docker Engine was restarted while it started the task, and lost sight of it. What had begun was ended. Submit it again, or give it --retry.'))
    await untilEngineAnswers(run, run.interrupted, () => engine.removeContainer(id)).catch(asFailure)
    const { id: made } = await createTaskContainer(run, services)
    run.record.handle = made
  }

  /** What could not be started may run all the same: an Engine's words are not its deeds. */
  async function removeAndThrow(run: TaskRun, error: unknown): Promise<never> {
    if (error instanceof TaskFailure) await remove(run.record).catch((failure: unknown) => console.error(`[hakuriver] [runner] what is left of task ${run.id} will be removed later: ${errorMessage(failure)}`))
    throw error
  }

  async function sendSignal(run: TaskRun, signal: string): Promise<void> {
    const id = idOf(run)
    try {
      // A frozen process gets no signal, and Engines differ in whether they thaw it for one.
      if (run.record.report.state === 'paused') await engine.unpauseContainer(id).catch(passConflict)
      await engine.signalContainer(id, signal)
    } catch (error) {
      if (!isHakuError(error, 'container.not_found', 'container.not_running')) throw error
    }
  }
}

// --- internal ---

/** So often a container is made for one that the Engine can not start any more. */
const MOST_ATTEMPTS = 5

function idOf({ record: { handle } }: TaskRun): string {
  if (handle === null) throw new Error('a container is asked for before it was made')
  return handle
}

/** Not paused any more. */
function passConflict(error: unknown): void {
  if (!isHakuError(error, 'engine.conflict', 'container.not_running', 'engine.failed')) throw error
}

function asFailure(error: unknown): never {
  if (!isHakuError(error)) throw error
  throw new TaskFailure('start_failed', error)
}
