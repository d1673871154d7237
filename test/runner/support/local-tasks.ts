import { EventEmitter, once } from 'node:events'
import { join } from 'node:path'
import type { TaskReport } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { isFinal } from '#core/tasks/states.ts'
import { createContainerExecutor } from '#runner/executors/docker/container-executor.ts'
import { type CpuOptions, createCpuAllocator } from '#runner/executors/docker/cpus.ts'
import { createOutOfMemory } from '#runner/executors/docker/out-of-memory.ts'
import type { ContainerServices } from '#runner/executors/docker/services.ts'
import { createTasks, type Tasks } from '#runner/executors/tasks.ts'
import { openRunnerState, type RunnerState } from '#runner/state/state.ts'
import type { Workspace } from './workspace.ts'

/** The tasks of a Runner without the Runner, on an Engine of the test's own choice. Every image is the one that the order names. */
export interface LocalTasks extends Tasks {
  state: RunnerState
  /** The final report. */
  untilFinal(id: string): Promise<TaskReport>
  /** As a stop of the Runner. */
  close(): Promise<void>
}

export async function createLocalTasks(engine: Engine, workspace: Workspace, options: Partial<Pick<CpuOptions, 'mode' | 'numaNodes' | 'cpus'>> & { gpuDriver?: ContainerServices['gpuDriver'] } = {}): Promise<LocalTasks> {
  const stopping = new AbortController()
  const { signal: closing } = stopping
  const state = await openRunnerState(join(workspace.stateDir, 'runner.db'))
  const { mode = 'quota', numaNodes = [], cpus = [0, 1], gpuDriver = 'auto' } = options
  const images = { ensure: (order: { configDigest: string | null }) => Promise.resolve(order.configDigest ?? ''), touch: () => undefined, confirm: () => Promise.resolve(), forget: () => Promise.resolve(), sweep: () => Promise.resolve() }
  const services = { state, paths: workspace.paths, hostname: workspace.hostname, localTempDir: workspace.localTempDir, closing }
  const container = createContainerExecutor({ ...services, engine, images, cpus: createCpuAllocator({ mode, state, numaNodes, cpus }), outOfMemory: createOutOfMemory({ log: undefined, closing }), gpuDriver, hasGpus: true })
  const news = new EventEmitter().setMaxListeners(0)
  const tasks = createTasks({ services, executors: { container, pack: container, plain: container }, images, takesPlain: false, onNews: () => news.emit('news') })
  return {
    ...tasks,
    state,
    async untilFinal(id) {
      const find = () => tasks.outbox().find((report) => report.id === id && isFinal(report.state))
      while (!find()) await once(news, 'news', { signal: AbortSignal.timeout(30_000) })
      return find() as TaskReport
    },
    async close() {
      stopping.abort(new Error('closing'))
      await tasks.settled()
      await state.close()
    },
  }
}
