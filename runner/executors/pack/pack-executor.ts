import type { TaskRecord } from '../../state/state.ts'
import type { Executor } from '../executor.ts'
import type { TaskRun } from '../task-run.ts'
import { createItemExecutor } from './item-executor.ts'
import { type PackServices, parseHandle } from './services.ts'
import { NoAgent } from './warm-containers.ts'

/** Orders with a word in `pack`: items that share containers, or, on a node where they can not, have one each. */
export function createPackExecutor(services: PackServices): Executor {
  const { container } = services
  const shared = createItemExecutor(services)
  const executorOf = ({ handle }: TaskRecord) => (parseHandle(handle) === undefined ? container : shared)

  return {
    removeEarlier: (run) => container.removeEarlier(run),
    find: async (run) => (await shared.find(run)) ?? container.find(run),
    async create(run) {
      try {
        return await shared.create(run)
      } catch (error) {
        if (!(error instanceof NoAgent)) throw error
      }
      return container.create(run)
    },
    start: (run) => executorOf(run.record).start(run),
    wait: (run) => executorOf(run.record).wait(run),
    readOutput: (run, options) => executorOf(run.record).readOutput(run, options),
    lookInto: (run, exit) => executorOf(run.record).lookInto(run, exit),
    runningMs: (run) => executorOf(run.record).runningMs(run),
    signal: (run: TaskRun, signal) => executorOf(run.record).signal(run, signal),
    pause: (run) => executorOf(run.record).pause(run),
    resume: (run) => executorOf(run.record).resume(run),
    async remove(record) {
      await shared.remove(record)
      if (executorOf(record) === container) await container.remove(record)
    },
  }
}
