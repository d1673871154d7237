import { FREEZE_PATIENCE_MS, killUntilEmpty, read, readCounter, readPids, removeTree, signalAll, until, write } from '../../linux/cgroup-files.ts'
import type { CgroupV1Handle, Scope } from './scope.ts'

/** A cgroup in each of several hierarchies, with the same processes in all of them. */
export function createCgroupV1({ directories }: CgroupV1Handle): Scope {
  const { freezer, memory } = directories
  const all = Object.values(directories)
  // Which one does not matter.
  const members = freezer ?? all[0] ?? ''
  const pids = () => readPids(members)

  async function setFrozen(frozen: boolean): Promise<void> {
    if (freezer === undefined) return signalAll(pids(), frozen ? 'SIGSTOP' : 'SIGCONT')
    const state = frozen ? 'FROZEN' : 'THAWED'
    write(freezer, 'freezer.state', state)
    await until(() => (read(freezer, 'freezer.state') ?? state) === state, FREEZE_PATIENCE_MS)
  }

  /** Nobody is born or dies in a frozen cgroup, so no number can come to mean another process. */
  async function killOnce(): Promise<void> {
    if (freezer !== undefined) await setFrozen(true)
    signalAll(pids(), 'SIGKILL')
    if (freezer !== undefined) await setFrozen(false)
  }

  return {
    pids,
    signal: (signal) => signalAll(pids(), signal),
    kill: (patienceMs) => killUntilEmpty(members, killOnce, patienceMs),
    freeze: () => setFrozen(true),
    thaw: () => setFrozen(false),
    isFrozen: () => freezer !== undefined && read(freezer, 'freezer.state') !== 'THAWED',
    outOfMemory: () => memory !== undefined && (readCounter(memory, 'memory.oom_control', 'oom_kill') ?? 0) > 0,
    async remove() {
      for (const directory of all) await removeTree(directory)
    },
  }
}
