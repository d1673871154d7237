import { innerPid, type ProcessStatus, readEnvironment, readStatus } from '../../linux/proc.ts'
import { containerPids } from '../../linux/container-pids.ts'

/** Which of the processes in a container are those of one item: what its main process has started, and what has that in its environment. */
export function itemProcesses(containerId: string, { pid: main, id }: { pid: number; id: string }): ProcessStatus[] {
  const living = containerPids(containerId).flatMap((pid) => readStatus(pid) ?? []).filter(({ isZombie }) => !isZombie)
  const mark = `HAKURIVER_TASK_ID=${id}`
  const members = new Set(living.filter(({ pid, session }) => (main > 0 && session === main) || pid === main || readEnvironment(pid).includes(mark)).map(({ pid }) => pid))
  for (let size = -1; size !== members.size; ) {
    size = members.size
    for (const { pid, parent } of living) if (members.has(parent)) members.add(pid)
  }
  return living.filter(({ pid }) => members.has(pid))
}

/** A process of a container as this machine counts; `undefined`: it has ended, or is not to be seen from here. */
export function outerPid(containerId: string, inner: number): number | undefined {
  return containerPids(containerId).find((pid) => innerPid(pid) === inner)
}
