import { readFileSync } from 'node:fs'
import { startCluster, type Cluster } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { must, stopCluster } from './commands.ts'
import { measureEnvironment } from './environment.ts'
import { measureFleet } from './fleet.ts'
import { measureLarge } from './large.ts'
import { measureMemory } from './memory.ts'
import { measurePackaging } from './packaging.ts'
import { measureList } from './queue/list.ts'
import { measureSimulation } from './queue/simulate.ts'
import { measureSubmissions } from './queue/submissions.ts'
import { measureTwoRunners } from './queue/two-runners.ts'
import { createRawEngine, type RawEngine } from './raw-engine.ts'
import { measureScheduler } from './scheduler.ts'
import { measureShell } from './shell.ts'
import { ratioResult, type Result } from './statistics.ts'
import { measureParallel, measureSubmit, type TaskBench } from './tasks.ts'

const ENVIRONMENT = 'hakuriver-bench'
const IMAGE = 'busybox:latest'
/** Of random data in the container that is packaged: what cannot be compressed costs all Engines the same. */
const PACKAGED_MEGABYTES = 500

export interface BenchOptions {
  socketPath: string
  /** `dist` */
  distDir: string
  json: boolean
  /** Names of {@link measurements}; all if left out. */
  only?: string[]
}

/** Measures, and prints a table or JSON. Resolves to the exit code. */
export async function main({ socketPath, distDir, json, only }: BenchOptions): Promise<number> {
  const unknown = only?.filter((name) => !(name in withoutEngine) && !(name in onOneEngine)) ?? []
  if (unknown.length > 0) throw new Error(`${unknown.join(', ')}: there are ${[...Object.keys(withoutEngine), ...Object.keys(onOneEngine)].join(', ')}`)
  // Most of them make their environments from it.
  await ensureBusybox(socketPath)
  const results = [...(await measure(withoutEngine, { socketPath, distDir }, only)), ...(await measureOnOneEngine(socketPath, only))]
  console.log(json ? JSON.stringify(results, undefined, 2) : toTable(results))
  return results.every(({ met }) => met) ? 0 : 1
}

// --- internal ---

type Measurements<Context> = Record<string, (context: Context) => Promise<Result[]>>

/** Those that make what they need. */
const withoutEngine: Measurements<{ socketPath: string; distDir: string }> = {
  submissions: ({ distDir }) => measureSubmissions(distDir),
  list: ({ distDir }) => measureList(distDir),
  scheduler: () => Promise.resolve(measureScheduler()),
  simulate: ({ distDir }) => measureSimulation(distDir),
  runners: ({ socketPath }) => measureTwoRunners(socketPath),
  environment: ({ socketPath }) => measureEnvironment(socketPath),
  fleet: ({ socketPath }) => measureFleet(socketPath),
  large: ({ socketPath }) => measureLarge(socketPath),
}

interface OneEngine {
  cluster: Cluster
  engine: RawEngine
  socketPath: string
}

/** On one Engine, for Host and Runner alike. In this order: the last one makes the container large. */
const onOneEngine: Measurements<OneEngine> = {
  submit: async (context) => [await measureSubmit(taskBench(context), 25)],
  parallel: async (context) => [await measureParallel(taskBench(context), 9)],
  shell: ({ cluster, socketPath }) => shellResults(cluster, socketPath),
  memory: async ({ cluster }) => [await measureMemory(cluster, ENVIRONMENT)],
  packaging: async ({ cluster, engine }) => {
    await must(cluster, 'hakuriver.docker-shell', [ENVIRONMENT], `head -c ${PACKAGED_MEGABYTES}000000 /dev/urandom > /ballast\n`)
    return [await measurePackaging({ cluster, engine, environment: ENVIRONMENT }, 3)]
  },
}

async function measureOnOneEngine(socketPath: string, only: string[] | undefined): Promise<Result[]> {
  if (only && !Object.keys(onOneEngine).some((name) => only.includes(name))) return []
  const cluster = await startCluster({ hostSocket: socketPath, nodes: { bench: socketPath } })
  try {
    await must(cluster, 'hakuriver.docker', ['create-container', '--if-not-exists', IMAGE, ENVIRONMENT])
    await must(cluster, 'hakuriver.docker', ['create-tar', ENVIRONMENT])
    return await measure(onOneEngine, { cluster, engine: createRawEngine(socketPath), socketPath }, only)
  } finally {
    await stopCluster(cluster, ENVIRONMENT)
  }
}

async function measure<Context>(measurements: Measurements<Context>, context: Context, only: string[] | undefined): Promise<Result[]> {
  const results: Result[] = []
  for (const [name, work] of Object.entries(measurements)) {
    if (only && !only.includes(name)) continue
    console.error(`[hakuriver] [bench] ${name} …`)
    results.push(...(await work(context)))
  }
  return results
}

function taskBench({ cluster, engine }: OneEngine): TaskBench {
  return { cluster, engine, node: 'bench', environment: ENVIRONMENT, image: IMAGE }
}

async function shellResults(cluster: Cluster, socketPath: string): Promise<Result[]> {
  const { echoMs, throughput } = await measureShell({ socketPath, hostUrl: cluster.url, token: cluster.token, container: ENVIRONMENT })
  return [
    { what: 'shell echo p50', raw: echoMs.raw, ours: echoMs.host, unit: 'ms', ratio: echoMs.host / echoMs.raw, target: '≤ raw + 1 ms', met: echoMs.host <= echoMs.raw + 1 },
    ratioResult('shell throughput', throughput.raw, throughput.host, { unit: 'MB/s', atLeast: 0.85 }),
  ]
}

function toTable(results: Result[]): string {
  const cells = [
    ['', 'raw', 'HakuRiver', 'ratio', 'target', ''],
    ...results.map(({ what, raw, ours, unit, ratio, target, met }) => [what, raw > 0 ? `${round(raw)} ${unit}` : '–', `${round(ours)} ${unit}`, raw > 0 ? ratio.toFixed(2) : '–', target, met ? 'met' : 'MISSED']),
  ]
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? []
  const [cpu = ''] = /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.slice(1) ?? []
  return [...cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd()), '', `Node.js ${process.version}, ${cpu}`].join('\n')
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
