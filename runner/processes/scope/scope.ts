import type { ProcessId } from '../../linux/proc.ts'
import { write } from '../../linux/cgroup-files.ts'
import { createCgroupV1 } from './cgroup-v1.ts'
import { createCgroupV2 } from './cgroup-v2.ts'
import { createGroup } from './group.ts'

/**
 * What holds the processes of one execution together, whatever they do to get away from each other: a cgroup, or, where there
 * is none to be had, what can be told from their ancestry.
 */
export interface Scope {
  /** Every process in it. */
  pids(): number[]
  signal(signal: NodeJS.Signals): void
  /** Ends all, and those that are born meanwhile. Resolves to how many could not be ended within `patienceMs`. */
  kill(patienceMs: number): Promise<number>
  /** A frozen process takes signals once it is thawed; only SIGKILL is obeyed at once. Idempotent, as {@link thaw}. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  isFrozen(): boolean
  /** Whether the kernel has ended a process of it for want of memory. */
  outOfMemory(): boolean
  /** Takes back what was made for it. Nothing runs in it any more. Idempotent. */
  remove(): Promise<void>
}

/** A scope on the disk: where it is. */
export type ScopeHandle = CgroupV1Handle | CgroupV2Handle | GroupHandle

export interface CgroupV1Handle {
  kind: 'cgroup-v1'
  /** Controller → directory of the execution. */
  directories: Partial<Record<Controller, string>>
  /** Where the supervisors of this node are, in the same hierarchies. */
  supervisors: string[]
}

export interface CgroupV2Handle {
  kind: 'cgroup-v2'
  directory: string
  supervisors: string
}

export interface GroupHandle {
  kind: 'group'
  /** Variables that only processes of this execution have, as `NAME=value`. */
  marks: string[]
}

/** `systemd`, `unified`: where systemd keeps its units. Who stays there with the Runner ends with the Runner's unit. */
export const CONTROLLERS = ['cpu', 'memory', 'pids', 'freezer', 'cpuset', 'systemd', 'unified'] as const
export type Controller = (typeof CONTROLLERS)[number]

/** @param main the process that was started; `undefined`: not known (yet) */
export function openScope(handle: ScopeHandle, main: ProcessId | undefined): Scope {
  switch (handle.kind) {
    case 'cgroup-v1':
      return createCgroupV1(handle)
    case 'cgroup-v2':
      return createCgroupV2(handle)
    case 'group':
      return createGroup(handle, main)
    default:
      return handle satisfies never
  }
}

/** Moves this process into the scope, so that its children are born there. @throws `internal.error` */
export function enterScope(handle: ScopeHandle): void {
  move(handle.kind === 'cgroup-v1' ? Object.values(handle.directories) : handle.kind === 'cgroup-v2' ? [handle.directory] : [])
}

/** Moves this process to the other supervisors, where no end or limit of a task concerns it. @throws `internal.error` */
export function leaveScope(handle: ScopeHandle): void {
  move(handle.kind === 'cgroup-v1' ? handle.supervisors : handle.kind === 'cgroup-v2' ? [handle.supervisors] : [])
}

// --- internal ---

function move(directories: readonly string[]): void {
  for (const directory of directories) write(directory, 'cgroup.procs', process.pid)
}
