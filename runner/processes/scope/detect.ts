import { mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errorMessage } from '#core/errors.ts'
import { processCgroup } from '#core/paths.ts'
import { read, write } from '../../linux/cgroup-files.ts'
import { type CgroupV1Handle, type Controller, CONTROLLERS, type ScopeHandle } from './scope.ts'

/** What this node has to hold processes with. */
export type CgroupSetup =
  | {
      kind: 'cgroup-v1'
      /** Controller → directory of the hierarchy's root. */
      hierarchies: Partial<Record<Controller, string>>
      supervisors: string[]
    }
  | {
      kind: 'cgroup-v2'
      /** Below which all of ours are. */
      base: string
      controllers: Controller[]
      supervisors: string
    }
  | { kind: 'group'; why: string }

export interface DetectOptions {
  node: string
  /** The text of /proc/self/mountinfo. */
  mounts: string
  /** The text of /proc/self/cgroup. */
  own: string
  /** Whether we are root: only then the top of a hierarchy is ours to use. */
  isRoot: boolean
}

/**
 * Looks for cgroups that can be used, and makes what all executions of this node share.
 *
 * Ours are beside everybody's, not below the Runner's own: whoever stops the Runner's unit ends all that is in it.
 */
export function detectCgroups(options: DetectOptions): CgroupSetup {
  const mounts = parseMounts(options.mounts)
  const unified = mounts.find(({ type, path }) => type === 'cgroup2' && LIMITS.some((controller) => controllersOf(path).includes(controller)))
  if (unified) return detectV2(unified.path, options)
  return mounts.length > 0 ? detectV1(mounts, options) : { kind: 'group', why: 'no cgroups are mounted' }
}

/** What is there of executions of this node, by the name of its cgroup. */
export function listScopes(setup: CgroupSetup, node: string): Map<string, ScopeHandle> {
  switch (setup.kind) {
    case 'cgroup-v1':
      return listV1(setup, node)
    case 'cgroup-v2':
      return new Map(listNames(join(setup.base, nodeCgroup(node))).map((name) => [name, { kind: 'cgroup-v2', directory: join(setup.base, nodeCgroup(node), name), supervisors: setup.supervisors }]))
    case 'group':
      return new Map()
    default:
      return setup satisfies never
  }
}

// --- internal ---

const LIMITS = ['cpu', 'memory', 'pids', 'cpuset'] as const
const SUPERVISORS = 'supervisors'

interface CgroupMount {
  type: string
  path: string
  /** Of v1: the controllers, and `name=…`. */
  options: string[]
}

/** Spaces and the like are written as octal numbers. */
function parseMounts(text: string): CgroupMount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const [type = '', , options = ''] = after.split(' ')
    const path = (before.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
    return type.startsWith('cgroup') ? [{ type, path, options: options.split(',') }] : []
  })
}

function listV1({ hierarchies, supervisors }: Extract<CgroupSetup, { kind: 'cgroup-v1' }>, node: string): Map<string, CgroupV1Handle> {
  const found = new Map<string, CgroupV1Handle>()
  for (const controller of CONTROLLERS) {
    const root = hierarchies[controller]
    if (root === undefined) continue
    for (const name of listNames(join(root, nodeCgroup(node)))) {
      const handle = found.get(name) ?? { kind: 'cgroup-v1', directories: {}, supervisors }
      handle.directories[controller] = join(root, nodeCgroup(node), name)
      found.set(name, handle)
    }
  }
  return found
}

function listNames(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() && entry.name !== SUPERVISORS ? [entry.name] : []))
}

function controllersOf(directory: string): string[] {
  return read(directory, 'cgroup.controllers')?.split(' ') ?? []
}

function detectV1(mounts: readonly CgroupMount[], { node }: DetectOptions): CgroupSetup {
  const hierarchies: Partial<Record<Controller, string>> = {}
  const supervisors = new Set<string>()
  let why = 'no controller is mounted'
  for (const controller of CONTROLLERS) {
    const mount = mounts.find(({ type, options }) => (controller === 'unified' ? type === 'cgroup2' : options.includes(controller === 'systemd' ? 'name=systemd' : controller)))
    if (!mount) continue
    try {
      supervisors.add(makeBelow(mount.path, join(nodeCgroup(node), SUPERVISORS), inheritCpuset))
      hierarchies[controller] = mount.path
    } catch (error) {
      why = errorMessage(error)
    }
  }
  return Object.keys(hierarchies).length > 0 ? { kind: 'cgroup-v1', hierarchies, supervisors: [...supervisors] } : { kind: 'group', why }
}

/** A new cgroup has neither cores nor memory nodes, and takes no process until it has both. */
function inheritCpuset(directory: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) if (read(directory, file) === '') write(directory, file, read(dirname(directory), file) ?? '')
}

/**
 * Root uses the top, as everybody who manages cgroups beside systemd. A user uses what was delegated: the parent of the
 * Runner's own cgroup (`Delegate=yes` and `DelegateSubgroup=` in its unit), because a cgroup with processes can have no limits below it.
 */
function detectV2(mount: string, { node, own, isRoot }: DetectOptions): CgroupSetup {
  const path = /^0::(?<path>.*)$/m.exec(own)?.groups?.['path'] ?? '/'
  const base = isRoot ? mount : join(mount, dirname(path))
  const available = controllersOf(base).filter((name): name is Controller => (LIMITS as readonly string[]).includes(name))
  try {
    const controllers = enable(base, available)
    const supervisors = makeBelow(base, join(nodeCgroup(node), SUPERVISORS), (directory) => {
      if (!directory.endsWith(SUPERVISORS)) enable(directory, controllers)
    })
    return { kind: 'cgroup-v2', base, controllers, supervisors }
  } catch (error) {
    return { kind: 'group', why: errorMessage(error) }
  }
}

/** One by one: of several, one that is refused would keep out all. */
function enable(directory: string, controllers: readonly Controller[]): Controller[] {
  return controllers.filter((controller) => {
    try {
      write(directory, 'cgroup.subtree_control', `+${controller}`)
      return true
    } catch {
      // Told with each task that asks for this limit.
      return false
    }
  })
}

/** Makes each cgroup on the way, and `prepare`s it. */
function makeBelow(root: string, path: string, prepare: (directory: string) => void): string {
  let directory = root
  for (const part of path.split('/')) {
    directory = join(directory, part)
    mkdirSync(directory, { recursive: true })
    prepare(directory)
  }
  return directory
}

/** What all executions of a node are in. */
function nodeCgroup(node: string): string {
  return dirname(processCgroup(node, 'any', 1))
}
