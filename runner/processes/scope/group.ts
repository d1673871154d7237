import { listProcesses, type ProcessId, readEnvironment, readStatus, sendSignal } from '../../linux/proc.ts'
import { FREEZE_PATIENCE_MS, until } from '../../linux/cgroup-files.ts'
import type { GroupHandle, Scope } from './scope.ts'

/**
 * Without a cgroup: the session of the process, its descendants, and whoever carries its marks in the environment: a process
 * that began a session of its own and lost its parent still has those. What has wiped its environment as well gets away.
 */
export function createGroup({ marks }: GroupHandle, main: ProcessId | undefined): Scope {
  const pids = () => findPids(marks, main)

  /** A child that is born while we look is found by the next look. */
  function signalGrowing(signal: NodeJS.Signals): void {
    const told = new Set<number>()
    for (let round = 0; round < ROUNDS; round++) {
      const news = pids().filter((pid) => !told.has(pid))
      if (news.length === 0) return
      for (const pid of news) sendSignal(pid, signal)
      news.forEach((pid) => told.add(pid))
    }
  }

  function isFrozen(): boolean {
    const all = pids().flatMap((pid) => readStatus(pid) ?? [])
    return all.some(({ isStopped }) => isStopped) && all.every(({ isStopped, isWaiting }) => isStopped || isWaiting)
  }

  return {
    pids,
    signal: signalGrowing,
    async kill(patienceMs) {
      // A stopped process has no more children; otherwise one that forks fast enough would get away.
      await until(() => {
        const left = pids()
        for (const signal of ['SIGSTOP', 'SIGKILL'] as const) for (const pid of left) sendSignal(pid, signal)
        return left.length === 0
      }, patienceMs)
      return pids().length
    },
    async freeze() {
      signalGrowing('SIGSTOP')
      await until(isFrozen, FREEZE_PATIENCE_MS)
    },
    thaw: () => Promise.resolve(signalGrowing('SIGCONT')),
    isFrozen,
    outOfMemory: () => false,
    remove: () => Promise.resolve(),
  }
}

// --- internal ---

const ROUNDS = 50

function findPids(marks: readonly string[], main: ProcessId | undefined): number[] {
  const all = listProcesses().filter(({ isZombie }) => !isZombie)
  const status = main && readStatus(main.pid)
  // The number of a process that has ended may mean another one by now, and its session with it.
  const session = main && (status === undefined || status.startTime === main.startTime) ? main.pid : undefined
  const found = new Set<number>()
  for (const candidate of all) {
    // Older than the task: a look into its environment is saved.
    if (main !== undefined && candidate.startTime < main.startTime) continue
    if (candidate.session === session || carries(candidate.pid, marks)) found.add(candidate.pid)
  }
  // A set goes on with what is added meanwhile.
  for (const pid of found) for (const { pid: child, parent } of all) if (parent === pid) found.add(child)
  return [...found]
}

function carries(pid: number, marks: readonly string[]): boolean {
  const environment = readEnvironment(pid)
  return marks.every((mark) => environment.includes(mark))
}
