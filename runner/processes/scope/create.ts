import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errorMessage } from '#core/errors.ts'
import { read, write } from '../../linux/cgroup-files.ts'
import type { CgroupSetup } from './detect.ts'
import { type CgroupV1Handle, type CgroupV2Handle, type Controller, CONTROLLERS, type ScopeHandle } from './scope.ts'

export interface Limits {
  /** So many CPUs' worth of time; 0: as much as there is. */
  cores: number
  /** Which CPUs, as the kernel writes them: `0-3,8-11`. `null`: any. */
  cpus: string | null
  /** Which NUMA nodes' memory, written alike. */
  memoryNodes: string | null
  memoryBytes: number | null
  processes: number
}

export interface CreatedScope {
  handle: ScopeHandle
  /** A sentence about the limits that this node can not set; `null`: all are set. */
  missing: string | null
}

/** What has to be known of an execution. */
export interface ScopeOptions {
  /** Path of its cgroup below the root of a hierarchy. */
  path: string
  /** What only its processes have in their environment. */
  marks: string[]
  limits: Limits
}

/** Makes the place for the processes of one execution, with its limits. What is there already is used. */
export function createScope(setup: CgroupSetup, options: ScopeOptions): CreatedScope {
  switch (setup.kind) {
    case 'cgroup-v1':
      return createV1(setup, options)
    case 'cgroup-v2':
      return createV2(setup, options)
    case 'group':
      return { handle: { kind: 'group', marks: options.marks }, missing: describe(wanted(options.limits), setup.why) }
    default:
      return setup satisfies never
  }
}

// --- internal ---

const PERIOD_US = 100_000

type LimitName = 'cores' | 'memory' | 'CPUs' | 'number of processes'

function wanted({ cores, cpus, memoryNodes, memoryBytes }: Limits): LimitName[] {
  const all = { cores: cores > 0, memory: memoryBytes !== null, CPUs: cpus !== null || memoryNodes !== null }
  return (['cores', 'memory', 'CPUs'] as const).filter((name) => all[name])
}

function describe(names: readonly LimitName[], why: string): string | null {
  return names.length === 0 ? null : `This node does not limit the ${names.join(' and ')} of a plain process: ${why}.`
}

/** Sets each limit, and gathers those that the kernel does not take. */
function setLimits(limits: Limits, setters: Record<LimitName, (() => void) | undefined>): string | null {
  const failures: LimitName[] = []
  let why = 'it has no cgroup controller for that'
  for (const name of [...wanted(limits), 'number of processes' as const]) {
    try {
      const set = setters[name]
      if (set) set()
      else failures.push(name)
    } catch (error) {
      failures.push(name)
      why = errorMessage(error)
    }
  }
  return describe(failures, why)
}

function createV1({ hierarchies, supervisors }: Extract<CgroupSetup, { kind: 'cgroup-v1' }>, { path, limits }: ScopeOptions): CreatedScope {
  const directories: Partial<Record<Controller, string>> = {}
  for (const controller of CONTROLLERS) {
    const root = hierarchies[controller]
    // Where there is nothing to say about CPUs, that is one place less to go to.
    if (root === undefined || (controller === 'cpuset' && !wanted(limits).includes('CPUs'))) continue
    const directory = join(root, path)
    mkdirSync(directory, { recursive: true })
    directories[controller] = directory
  }
  /** `undefined`: there is no such controller. */
  const having = (controller: Controller, set: (directory: string) => void) => {
    const directory = directories[controller]
    return directory === undefined ? undefined : () => set(directory)
  }
  const missing = setLimits(limits, {
    cores: having('cpu', (directory) => {
      write(directory, 'cpu.cfs_period_us', PERIOD_US)
      write(directory, 'cpu.cfs_quota_us', limits.cores * PERIOD_US)
    }),
    memory: having('memory', (directory) => setMemoryV1(directory, limits.memoryBytes ?? 0)),
    'number of processes': having('pids', (directory) => write(directory, 'pids.max', limits.processes)),
    CPUs: having('cpuset', (directory) => setCpusetV1(directory, limits)),
  })
  const handle: CgroupV1Handle = { kind: 'cgroup-v1', directories, supervisors }
  return { handle, missing }
}

/** One that lacks either takes no process, and would keep it out of all other hierarchies: it has its parent's until it has its own. */
function setCpusetV1(directory: string, { cpus, memoryNodes }: Limits): void {
  for (const [file, value] of [['cpuset.cpus', cpus], ['cpuset.mems', memoryNodes]] as const) {
    write(directory, file, read(dirname(directory), file) ?? '')
    if (value !== null) write(directory, file, value)
  }
}

/** Memory and swap together may not be less than memory alone, whatever stood there before. */
function setMemoryV1(directory: string, bytes: number): void {
  write(directory, 'memory.limit_in_bytes', bytes)
  // Without swap accounting the kernel can at least be told not to swap.
  if (read(directory, 'memory.memsw.limit_in_bytes') === undefined) write(directory, 'memory.swappiness', 0)
  else write(directory, 'memory.memsw.limit_in_bytes', bytes)
}

function createV2({ base, controllers, supervisors }: Extract<CgroupSetup, { kind: 'cgroup-v2' }>, { path, limits }: ScopeOptions): CreatedScope {
  const directory = join(base, path)
  mkdirSync(directory, { recursive: true })
  const having = (controller: Controller, set: () => void) => (controllers.includes(controller) ? set : undefined)
  const missing = setLimits(limits, {
    cores: having('cpu', () => write(directory, 'cpu.max', `${limits.cores * PERIOD_US} ${PERIOD_US}`)),
    memory: having('memory', () => {
      write(directory, 'memory.max', limits.memoryBytes ?? 0)
      // Without swap accounting there is no such file.
      if (read(directory, 'memory.swap.max') !== undefined) write(directory, 'memory.swap.max', 0)
    }),
    'number of processes': having('pids', () => write(directory, 'pids.max', limits.processes)),
    CPUs: having('cpuset', () => {
      if (limits.cpus !== null) write(directory, 'cpuset.cpus', limits.cpus)
      if (limits.memoryNodes !== null) write(directory, 'cpuset.mems', limits.memoryNodes)
    }),
  })
  const handle: CgroupV2Handle = { kind: 'cgroup-v2', directory, supervisors }
  return { handle, missing }
}
