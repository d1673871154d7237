import { simulate } from '#simulator/run/simulate.ts'
import type { Result } from '../statistics.ts'

const NODES = 1000
const TASKS = 20_000

/** A real Host with many fake nodes, from the first submission to the last end. */
export async function measureSimulation(distDir: string): Promise<Result[]> {
  const { signal } = new AbortController()
  const { tasksPerSecond, hostCpuMsPerTask, databaseBytesPerTask, hostPeakMegabytes, checks } = await simulate({ nodes: NODES, tasks: TASKS, cores: 8, submit: { clients: 8 }, behaviour: { meanMs: 1000 }, seed: 1, distDir, signal })
  const failed = checks.filter(({ passed }) => !passed)
  const told = (what: string, ours: number, unit: string, target = '–', met = true): Result => ({ what: `${what}, ${NODES} fake nodes`, raw: 0, ours, unit, ratio: NaN, target, met })
  return [
    told('checks that failed', failed.length, failed.map(({ what }) => what).join(', '), '0', failed.length === 0),
    told('single tasks, submission to end', tasksPerSecond, 'tasks/s'),
    told('CPU of the Host for a task', hostCpuMsPerTask, 'ms'),
    told('memory of the Host, at most', hostPeakMegabytes, 'MB'),
    told('database for a task', databaseBytesPerTask, 'bytes', '≤ 1024 bytes', databaseBytesPerTask <= 1024),
  ]
}
