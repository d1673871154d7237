import { statfs } from 'node:fs/promises'
import { HakuError, isHakuError } from '#core/errors.ts'
import { processDirectory, processPaths, type ProcessPaths } from '#core/paths.ts'
import type { TaskRecord } from '../state/state.ts'
import type { Executor, Exit, Found } from '../executors/executor.ts'
import { TaskFailure } from '../executors/task-failure.ts'
import type { TaskRun } from '../executors/task-run.ts'
import { type EndedProcess, readJson, type StartedProcess } from '../keeping/files.ts'
import { readOutput } from '../keeping/read-output.ts'
import { processAgeMs } from '../linux/proc.ts'
import { createProcess } from './create.ts'
import type { ProcessOrder } from './order.ts'
import { removeExecution, scopeOf } from './remove.ts'
import type { Scope } from './scope/scope.ts'
import type { ProcessServices } from './services.ts'
import { isOver, type Known, readKnown, supervise, wasRebooted } from './supervision.ts'

/** Executions without a container: a process of the node each, with a supervisor beside it. The handle is its directory. */
export function createProcessExecutor(services: ProcessServices): Executor {
  const { processes, supervisor: program, closing } = services
  const pathsOf = ({ order: { id, instance } }: Pick<TaskRecord, 'order'>) => processPaths(processDirectory(processes, id, instance))
  const signal = closing
  const outputOf = (paths: ProcessPaths, follow: boolean) => readOutput(paths, { follow, closing, isOver: () => isOver(paths) })

  /** Waits until it is known whether the process started. @throws `TaskFailure`: it did not */
  async function untilStarted(paths: ProcessPaths): Promise<Known | undefined> {
    const known = await supervise(paths, ({ started }) => started !== undefined, { program, signal }).catch((error: unknown) => {
      throw isHakuError(error) ? new TaskFailure('start_failed', error) : error
    })
    const failure = known?.ended?.failure
    if (failure) throw new TaskFailure(failure.reason, new Error(failure.message), known.ended?.exitCode ?? null)
    return known
  }

  async function find(run: TaskRun): Promise<Found | undefined> {
    const paths = pathsOf(run.record)
    const known = readKnown(paths)
    if (!known) return undefined
    run.record.handle = paths.directory
    if (!known.supervisor) return { status: 'created', started: null, finished: null }
    const { started, ended } = (await untilStarted(paths)) ?? known
    const status = ended ? 'ended' : scopeOf(paths)?.isFrozen() ? 'paused' : 'running'
    return { status, started: started?.started ?? null, finished: ended?.finished ?? null }
  }

  return {
    async removeEarlier({ record: { order } }) {
      for (let instance = 1; instance < order.instance; instance++) await removeExecution(processPaths(processDirectory(processes, order.id, instance)))
    },

    find,

    async create(run) {
      const found = await find(run)
      if (found) return found
      const paths = pathsOf(run.record)
      await createProcess(run, paths, services)
      run.record.handle = paths.directory
      return { status: 'created', started: null, finished: null }
    },

    async start({ record }) {
      const paths = pathsOf(record)
      if (!(await untilStarted(paths))) throw new TaskFailure('node_forgot', new Error(REMOVED))
      return outputOf(paths, true)
    },

    async wait(run) {
      const paths = pathsOf(run.record)
      const missing = readJson<ProcessOrder>(paths.order)?.missing ?? null
      const tell = createTeller(run, paths, missing)
      await tell()
      const known = await supervise(paths, () => false, { program, signal, onLook: tell })
      return exitOf(known, missing)
    },

    readOutput: ({ record }, { follow }) => Promise.resolve(outputOf(pathsOf(record), follow)),

    lookInto({ record }) {
      const ended = readJson<EndedProcess>(pathsOf(record).ended)
      return Promise.resolve(ended ? { outOfMemory: ended.outOfMemory } : 'gone')
    },

    runningMs({ record }) {
      const started = readJson<StartedProcess>(pathsOf(record).started)
      return Promise.resolve(started ? processAgeMs(started) : 0)
    },

    async signal({ record }, name) {
      const scope = scopeOf(pathsOf(record))
      if (!scope) return
      if (name !== 'SIGKILL') {
        scope.signal(name)
        return scope.thaw()
      }
      const left = await scope.kill(KILL_PATIENCE_MS)
      if (left > 0) throw new HakuError('internal.error', `${left} of its processes do not end, not even by SIGKILL: they wait for a device or a file system that does not answer.`)
    },

    pause: ({ record }) => runningScope(pathsOf(record)).freeze(),
    resume: ({ record }) => runningScope(pathsOf(record)).thaw(),
    remove: (record) => removeExecution(pathsOf(record)),
  }
}

// --- internal ---

/** Of one SIGKILL: whoever sends it repeats it. */
const KILL_PATIENCE_MS = 2000
const REMOVED = 'The directory of the process was removed behind our back.'
/** Less is none: file systems keep some for themselves. */
const FULL_BYTES = 64 * 1024

/** @throws `engine.conflict` */
function runningScope(paths: ProcessPaths): Scope {
  const scope = scopeOf(paths)
  if (!scope || readJson(paths.ended) !== undefined) throw new HakuError('engine.conflict', 'The process has ended.')
  return scope
}

function exitOf(known: Known | undefined, missing: string | null): Exit {
  if (!known) return 'gone'
  const { ended } = known
  if (!ended) return { exitCode: null, interrupted: false, message: wasRebooted(known) ? 'The node was started again while the task ran.' : REMOVED }
  if (ended.exitCode !== null) return { exitCode: ended.exitCode, interrupted: false, note: [ended.note, missing].filter(Boolean).join(' ') }
  return { exitCode: null, interrupted: false, message: ended.note ?? 'Nobody knows how the process ended.' }
}

/** Tells people what is amiss while the process runs: limits that it does not have, and a disk that it waits for. */
function createTeller(run: TaskRun, { directory }: ProcessPaths, missing: string | null): () => Promise<void> {
  let told: string | null = null
  return async () => {
    // A directory that is gone is none that is full.
    const isFull = await statfs(directory).then(({ bavail, bsize }) => bavail * bsize < FULL_BYTES, () => false)
    const message = isFull ? 'The disk of paths.state_dir is full on this node: the task waits with its output until there is space.' : missing
    // Others tell of other things meanwhile.
    if (message !== told) run.tell(message)
    told = message
  }
}
