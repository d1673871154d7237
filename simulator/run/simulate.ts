import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostApi } from '#core/api/host.ts'
import { createClient } from '#core/client/client.ts'
import type { BehaviourOptions } from '../fleet/behaviour.ts'
import type { FleetCounters } from '../fleet/ledger.ts'
import { processCpuSeconds, processMegabytes } from '../process.ts'
import { createRandom } from '../random.ts'
import { type Check, checkRun } from './checks.ts'
import { databaseBytes } from './database-size.ts'
import { publishEnvironment } from './environment.ts'
import { type FleetProcess, startFleet } from './fleet.ts'
import { type SimulatedHost, startHost } from './host.ts'
import { type Latencies, startProbe } from './probe.ts'
import { submitArray, submitSingles } from './submit.ts'

export interface SimulationOptions {
  nodes: number
  tasks: number
  /** Of each node; each task takes one. */
  cores: number
  /** As one array, or one by one from so many clients. */
  submit: 'array' | { clients: number }
  behaviour: BehaviourOptions
  seed: number
  /** Writes a CPU profile of the Host into this directory. */
  profileDir?: string | undefined
  /** `dist` */
  distDir: string
  signal: AbortSignal
  onPhase?(phase: string): void
}

export interface Simulation {
  nodes: number
  tasks: number
  registerSeconds: number
  submitSeconds: number
  /** From the first submission to the end of the last task. */
  seconds: number
  tasksPerSecond: number
  /** CPU time of the Host for each task, its own code and the kernel. */
  hostCpuMsPerTask: number
  /** With all nodes, before the first task. */
  hostIdleMegabytes: number
  hostPeakMegabytes: number
  hostEndMegabytes: number
  databaseBytesPerTask: number
  latencies: Latencies
  counters: FleetCounters
  checks: Check[]
}

/** A Host that does nothing for so long has lost something. */
const PATIENCE_MS = 60_000

/** Runs a real Host and a fleet of fake nodes through so many tasks, and compares. Leaves nothing behind. */
export async function simulate(options: SimulationOptions): Promise<Simulation> {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-simulate-'))
  let host: SimulatedHost | undefined
  let fleet: FleetProcess | undefined
  try {
    options.onPhase?.('starting the Host')
    host = await startHost({ directory, binDir: join(options.distDir, 'bin'), profileDir: options.profileDir })
    await publishEnvironment(host.sharedDir)
    options.onPhase?.(`registering ${options.nodes} nodes`)
    const registered = performance.now()
    fleet = await startFleet(join(options.distDir, 'simulator', 'fleet-process.mjs'), {
      hostUrl: host.url, runnerToken: host.runnerToken, nodes: options.nodes, cores: options.cores, memoryBytes: options.cores * 4_000_000_000, behaviour: options.behaviour, seed: options.seed,
    }, options.signal)
    const registerSeconds = secondsSince(registered)
    const died = host.died.then((log) => {
      throw new Error(`the Host has ended by itself:\n${log}`)
    })
    const measured = await Promise.race([measure(options, host, fleet), died, aborted(options.signal)])
    await host.stop()
    return { ...measured, registerSeconds, databaseBytesPerTask: databaseBytes(host.database) / options.tasks }
  } finally {
    await fleet?.stop()
    await host?.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

// --- internal ---

type Measured = Omit<Simulation, 'registerSeconds' | 'databaseBytesPerTask'>

async function measure({ nodes, tasks, submit, seed, signal, onPhase }: SimulationOptions, host: SimulatedHost, fleet: FleetProcess): Promise<Measured> {
  const connect = () => createClient({ api: hostApi, url: host.url, token: host.adminToken, unreachable: 'host.unreachable' })
  const client = connect()
  try {
    const hostIdleMegabytes = processMegabytes(host.pid, 'VmRSS')
    const cpuBefore = processCpuSeconds(host.pid)
    const probe = startProbe(client, createRandom(seed))
    onPhase?.(`submitting ${tasks} tasks`)
    const started = performance.now()
    const batch = submit === 'array' ? await submitArray(client, tasks) : null
    if (submit !== 'array') await submitSingles(connect, { tasks, clients: submit.clients, signal })
    const submitSeconds = secondsSince(started)
    onPhase?.('waiting for their ends')
    const counters = await fleet.until(({ acknowledged }) => acknowledged >= tasks, PATIENCE_MS)
    const seconds = secondsSince(started)
    const latencies = await probe.stop()
    const cpuSeconds = processCpuSeconds(host.pid) - cpuBefore
    const memory = { hostIdleMegabytes, hostPeakMegabytes: processMegabytes(host.pid, 'VmHWM'), hostEndMegabytes: processMegabytes(host.pid, 'VmRSS') }
    onPhase?.('checking')
    const checks = await checkRun({ client, tasks, batch, counters, executions: await fleet.executions() })
    return { nodes, tasks, submitSeconds, seconds, tasksPerSecond: tasks / seconds, hostCpuMsPerTask: (1000 * cpuSeconds) / tasks, ...memory, latencies, counters, checks }
  } finally {
    client.close()
  }
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000
}

async function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    if (signal.aborted) reject(signal.reason as Error)
  })
}
