import { EventEmitter, once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import { processDirectory, processPaths, type ProcessPaths, runnerStatePaths, type SharedPaths, sharedPaths } from '#core/paths.ts'
import { isFinal, type TaskState } from '#core/tasks/states.ts'
import { createCpuAllocator } from '#runner/executors/docker/cpus.ts'
import type { Executor } from '#runner/executors/executor.ts'
import { createTasks, type Tasks } from '#runner/executors/tasks.ts'
import { readJson, type StartedProcess } from '#runner/keeping/files.ts'
import { createProcessExecutor } from '#runner/processes/process-executor.ts'
import { type CgroupSetup, detectCgroups, listScopes } from '#runner/processes/scope/detect.ts'
import { openScope } from '#runner/processes/scope/scope.ts'
import type { ProcessServices } from '#runner/processes/services.ts'
import { watchDirectory } from '#runner/linux/watch.ts'
import { openRunnerState, type RunnerState } from '#runner/state/state.ts'
import { buildSupervisor } from '../../../build/helpers.mjs'
import { createOrder } from './workspace.ts'

const PATIENCE_MS = 30_000

/** The cgroups of this machine, for a node of this name. */
export function machineCgroups(node: string): CgroupSetup {
  return detectCgroups({ node, mounts: readFileSync('/proc/self/mountinfo', 'utf8'), own: readFileSync('/proc/self/cgroup', 'utf8'), isRoot: process.getuid?.() === 0 })
}

/** What this machine has; of a node that leaves nothing. */
async function probe(): Promise<CgroupSetup> {
  const name = `test-${createId()}`
  const setup = machineCgroups(name)
  await removeCgroups(setup, name)
  return setup
}

export const machineSetup = await probe()

/** As on a machine without any. */
export function noCgroups(): CgroupSetup {
  return { kind: 'group', why: 'it has no cgroups' }
}

/** Where this machine has cgroups of version 2, be it without controllers; `undefined`: nowhere, or not for us. */
export const unifiedMount = / (?<path>\/\S+) [^-]* - cgroup2 /.exec(readFileSync('/proc/self/mountinfo', 'utf8'))?.groups?.['path']

/** Those, without any limits. */
export function unifiedCgroups(node: string): CgroupSetup {
  const supervisors = join(unifiedMount ?? '', 'hakuriver', node, 'supervisors')
  mkdirSync(supervisors, { recursive: true })
  return { kind: 'cgroup-v2', base: unifiedMount ?? '', controllers: [], supervisors }
}

/** A Runner's plain processes in this process, without its Host and its Engine: real processes, supervisors and files. */
export interface PlainNode {
  hostname: string
  root: string
  paths: SharedPaths
  services: ProcessServices
  readonly state: RunnerState
  readonly tasks: Tasks
  readonly executor: Executor
  /** Runs a command to its end. */
  run(command: string[], change?: Partial<TaskOrder>): Promise<TaskReport>
  /** Starts a command, and resolves to its order once it runs. */
  start(command: string[], change?: Partial<TaskOrder>): Promise<TaskOrder>
  until(order: Pick<TaskOrder, 'id' | 'instance'>, state: TaskState): Promise<TaskReport>
  /** The end, whatever it is. */
  untilFinal(order: Pick<TaskOrder, 'id' | 'instance'>): Promise<TaskReport>
  /** Resolves once people are told this of it. */
  untilTold(order: Pick<TaskOrder, 'id' | 'instance'>, message: RegExp): Promise<TaskReport>
  /** Resolves once its standard output holds this. */
  untilPrinted(order: Pick<TaskOrder, 'id' | 'instance'>, text: string): Promise<void>
  stdout(order: Pick<TaskOrder, 'id' | 'instance'>): Promise<string>
  stderr(order: Pick<TaskOrder, 'id' | 'instance'>): Promise<string>
  files(order: Pick<TaskOrder, 'id' | 'instance'>): ProcessPaths
  /** Process id of the task's first process. */
  pid(order: Pick<TaskOrder, 'id' | 'instance'>): number
  /** The Runner stops; processes run on. */
  stop(): Promise<void>
  /** And is started again: with what is on the disk. */
  startAgain(): Promise<void>
  /** Ends everything, and leaves nothing. */
  remove(): Promise<void>
}

/** @param setupOf what a node of this name has to hold processes with */
export async function createPlainNode(setupOf: (hostname: string) => CgroupSetup): Promise<PlainNode> {
  const root = mkdtempSync(join(tmpdir(), 'hakuriver-plain-test-'))
  const hostname = `test-${createId()}`
  const stateDir = join(root, 'state')
  const paths = sharedPaths(join(root, 'shared'), 'hakuriver-containers')
  const supervisor = join(root, 'supervisor.cjs')
  await Promise.all([mkdir(paths.root), mkdir(stateDir), buildSupervisor({ outfile: supervisor })])
  await writeFile(paths.mark, '')
  const setup = setupOf(hostname)
  const changes = new EventEmitter().setMaxListeners(0)

  async function boot() {
    const closing = new AbortController()
    const state = await openRunnerState(runnerStatePaths(stateDir).database)
    const cpus = createCpuAllocator({ mode: 'quota', state, numaNodes: [{ id: 0, cpus: '0', cores: 1, memoryBytes: 1 }], cpus: [0, 1] })
    const services: ProcessServices = { state, paths, hostname, localTempDir: join(root, 'local'), closing: closing.signal, cpus, cgroups: () => setup, processes: runnerStatePaths(stateDir).processes, supervisor }
    const executor = createProcessExecutor(services)
    const images = { touch: () => undefined, sweep: () => Promise.resolve() }
    const tasks = createTasks({ services, executors: { container: executor, pack: executor, plain: executor }, images, takesPlain: true, onNews: () => void changes.emit('news') })
    return { closing, state, services, executor, tasks }
  }

  let runner = await boot()

  async function untilReport(order: Pick<TaskOrder, 'id' | 'instance'>, what: string, check: (report: TaskReport) => boolean): Promise<TaskReport> {
    const report = () => runner.state.find(order)?.report
    const deadline = Date.now() + PATIENCE_MS
    for (let found = report(); ; found = report()) {
      if (found && check(found)) return found
      if (found && isFinal(found.state)) throw new Error(`waited for ${what}, but it ended: ${JSON.stringify(found)}`)
      await once(changes, 'news', { signal: AbortSignal.timeout(Math.max(1, deadline - Date.now())) }).catch(() => {
        throw new Error(`waited in vain for ${what}: ${JSON.stringify(report())}`)
      })
    }
  }

  async function accept(command: string[], change: Partial<TaskOrder>): Promise<TaskOrder> {
    const order = createOrder('', command, { image: null, ...change })
    await runner.tasks.accept(order)
    return order
  }

  const filesOf = ({ id, instance }: Pick<TaskOrder, 'id' | 'instance'>) => processPaths(processDirectory(runnerStatePaths(stateDir).processes, id, instance))
  const untilFinal: PlainNode['untilFinal'] = (order) => untilReport(order, 'its end', ({ state }) => isFinal(state))

  async function stop(): Promise<void> {
    runner.closing.abort(new Error('stopping'))
    await runner.tasks.settled()
    await runner.state.close()
  }

  const node: PlainNode = {
    hostname,
    root,
    paths,
    get services() {
      return runner.services
    },
    get state() {
      return runner.state
    },
    get tasks() {
      return runner.tasks
    },
    get executor() {
      return runner.executor
    },
    run: async (command, change = {}) => untilFinal(await accept(command, change)),
    async start(command, change = {}) {
      const order = await accept(command, change)
      await node.until(order, 'running')
      return order
    },
    until: (order, state) => untilReport(order, state, (report) => report.state === state),
    untilFinal,
    untilTold: (order, message) => untilReport(order, String(message), (report) => message.test(report.message ?? '')),
    async untilPrinted(order, text) {
      const file = paths.stdout(order.id, order.instance)
      const watch = watchDirectory(dirname(file), [basename(file)])
      const patience = AbortSignal.timeout(PATIENCE_MS)
      try {
        while (!(await node.stdout(order)).includes(text)) await watch.next(patience)
      } finally {
        watch.close()
      }
    },
    stdout: ({ id, instance }) => readFile(paths.stdout(id, instance), 'utf8'),
    stderr: ({ id, instance }) => readFile(paths.stderr(id, instance), 'utf8'),
    files: filesOf,
    pid: (order) => readJson<StartedProcess>(filesOf(order).started)?.pid ?? 0,
    stop,
    async startAgain() {
      runner = await boot()
      runner.tasks.recover()
    },
    async remove() {
      for (const { order } of runner.state.list()) await runner.executor.remove({ order } as Parameters<Executor['remove']>[0])
      await stop()
      await removeCgroups(setup, hostname)
      await rm(root, { recursive: true, force: true })
    },
  }
  return node
}

/** What a node of this name has of cgroups. */
export async function removeCgroups(setup: CgroupSetup, hostname: string): Promise<void> {
  for (const handle of listScopes(setup, hostname).values()) {
    const scope = openScope(handle, undefined)
    await scope.kill(5000)
    await scope.remove()
  }
  const supervisors = setup.kind === 'cgroup-v1' ? setup.supervisors : setup.kind === 'cgroup-v2' ? [setup.supervisors] : []
  for (const directory of supervisors) await openScope({ kind: 'cgroup-v2', directory: join(directory, '..'), supervisors: '' }, undefined).remove()
}
