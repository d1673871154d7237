import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { FREEZE_PATIENCE_MS, killUntilEmpty, read, readCounter, readPids, removeTree, signalAll, until, write } from '../../linux/cgroup-files.ts'
import type { CgroupV2Handle, Scope } from './scope.ts'

/** One cgroup with all controllers. */
export function createCgroupV2({ directory }: CgroupV2Handle): Scope {
  const pids = () => readPids(directory)

  async function setFrozen(frozen: boolean): Promise<void> {
    const flag = frozen ? '1' : '0'
    write(directory, 'cgroup.freeze', flag)
    await until(() => (readCounter(directory, 'cgroup.events', 'frozen') ?? Number(flag)) === Number(flag), FREEZE_PATIENCE_MS)
  }

  /** `cgroup.kill` came with Linux 5.14. Before that, nobody is born in a frozen cgroup; SIGKILL is obeyed in it. */
  async function killOnce(): Promise<void> {
    if (existsSync(join(directory, 'cgroup.kill'))) return write(directory, 'cgroup.kill', '1')
    await setFrozen(true)
    signalAll(pids(), 'SIGKILL')
    await setFrozen(false)
  }

  return {
    pids,
    signal: (signal) => signalAll(pids(), signal),
    kill: (patienceMs) => killUntilEmpty(directory, killOnce, patienceMs),
    freeze: () => setFrozen(true),
    thaw: () => setFrozen(false),
    isFrozen: () => read(directory, 'cgroup.freeze') === '1',
    outOfMemory: () => (readCounter(directory, 'memory.events', 'oom_kill') ?? 0) > 0,
    remove: () => removeTree(directory),
  }
}
