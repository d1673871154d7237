import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { killUntilEmpty, read, readCounter, readNumber, readPids, removeTree, signalAll, until, write } from './cgroup-files.ts'
import type { CgroupV2Handle, Scope } from './scope.ts'

/** Until all of a large tree have come to rest. */
const FREEZE_PATIENCE_MS = 2000

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
    usage: () => ({
      memoryBytes: readNumber(directory, 'memory.current'),
      cpuSeconds: seconds(readCounter(directory, 'cpu.stat', 'usage_usec')),
      processes: pids().length,
    }),
    outOfMemory: () => (readCounter(directory, 'memory.events', 'oom_kill') ?? 0) > 0,
    remove: () => removeTree(directory),
  }
}

// --- internal ---

function seconds(microseconds: number | null): number | null {
  return microseconds === null ? null : microseconds / 1e6
}
