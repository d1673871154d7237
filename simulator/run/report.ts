import type { Latency } from './probe.ts'
import type { Simulation } from './simulate.ts'

/** A simulation for people. */
export function toTable(simulation: Simulation): string {
  const { nodes, tasks, latencies, counters, checks } = simulation
  const lines: [string, string][] = [
    ['nodes', `${nodes}, registered in ${simulation.registerSeconds.toFixed(1)} s`],
    ['tasks', `${tasks}, submitted in ${simulation.submitSeconds.toFixed(2)} s (${Math.round(tasks / simulation.submitSeconds)}/s)`],
    ['end to end', `${simulation.seconds.toFixed(1)} s, ${Math.round(simulation.tasksPerSecond)} tasks/s`],
    ['CPU of the Host', `${simulation.hostCpuMsPerTask.toFixed(3)} ms for each task`],
    ['memory of the Host', `${simulation.hostIdleMegabytes.toFixed(0)} MB idle, ${simulation.hostPeakMegabytes.toFixed(0)} MB at most, ${simulation.hostEndMegabytes.toFixed(0)} MB at the end`],
    ['database', `${simulation.databaseBytesPerTask.toFixed(0)} bytes for each task`],
    ['list, meanwhile', describe(latencies.list)],
    ['get, meanwhile', describe(latencies.get)],
    ['calls', `${counters.orders} orders (${counters.repeatedOrders} again), ${counters.reportCalls} with ${counters.reports} reports, ${counters.beats} beats`],
    ...checks.map(({ what, passed, found }): [string, string] => [passed ? 'ok' : 'FAILED', passed ? what : `${what}: ${found}`]),
  ]
  const width = Math.max(...lines.map(([name]) => name.length))
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}

// --- internal ---

function describe({ calls, p50, p99, max }: Latency): string {
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, at most ${max.toFixed(1)} ms (${calls} calls)`
}
