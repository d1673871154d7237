import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { processPaths, type ProcessPaths } from '#core/paths.ts'
import type { RunnerState } from '../state/state.ts'
import { readJson, type StartedProcess } from '../keeping/files.ts'
import { listOrphans, orphanOf } from '../keeping/orphans.ts'
import type { ProcessOrder } from './order.ts'
import { listScopes } from './scope/detect.ts'
import { openScope, type Scope } from './scope/scope.ts'
import type { ProcessServices } from './services.ts'

/** Where the processes of an execution are; `undefined`: it was not made, or is removed. */
export function scopeOf(paths: ProcessPaths): Scope | undefined {
  const order = readJson<ProcessOrder>(paths.order)
  return order && openScope(order.scope, readJson<StartedProcess>(paths.started))
}

/** Ends and removes what is left of an execution, supervised or not. Idempotent. @throws `internal.error`: something of it does not end */
export async function removeExecution(paths: ProcessPaths): Promise<void> {
  const scope = scopeOf(paths)
  if (scope) await removeScope(scope)
  // Its supervisor may be writing its last word.
  await rm(paths.directory, { recursive: true, force: true, maxRetries: 5 })
}

export interface OrphanOptions extends Pick<ProcessServices, 'processes' | 'cgroups' | 'hostname'> {
  state: Pick<RunnerState, 'find'>
}

/** Ends and removes executions that this node's state does not know or has done with, such as after its loss. Resolves to their tasks' ids. */
export async function removeOrphanProcesses({ processes, cgroups, hostname, state }: OrphanOptions): Promise<string[]> {
  const removed = new Set<string>()
  for (const [name, { id }] of await listOrphans(processes, state)) {
    tell(id)
    await removeExecution(processPaths(join(processes, name)))
    removed.add(id)
  }
  // Their directories may be lost.
  for (const [name, handle] of listScopes(cgroups(), hostname)) {
    const orphan = orphanOf(name, state)
    if (!orphan) continue
    tell(orphan.id)
    await removeScope(openScope(handle, undefined))
    removed.add(orphan.id)
  }
  return [...removed]

  function tell(id: string): void {
    if (!removed.has(id)) console.error(`[hakuriver] [runner] removing a process of task ${id}: neither this node's state nor the Host knows it`)
  }
}

// --- internal ---

const KILL_PATIENCE_MS = 10_000

async function removeScope(scope: Scope): Promise<void> {
  await scope.kill(KILL_PATIENCE_MS)
  await scope.remove()
}
