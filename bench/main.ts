import { readFileSync } from 'node:fs'
import { startCluster, type Cluster } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { must } from './commands.ts'
import { measureEnvironment } from './environment.ts'
import { measureFleet } from './fleet.ts'
import { measureLarge } from './large.ts'
import { measureMemory } from './memory.ts'
import { measurePackaging } from './packaging.ts'
import { createRawEngine, type RawEngine } from './raw-engine.ts'
import { measureShell } from './shell.ts'
import { ratioResult, type Result } from './statistics.ts'
import { measureParallel, measureSubmit, type TaskBench } from './tasks.ts'

const ENVIRONMENT = 'hakuriver-bench'
const IMAGE = 'busybox:latest'
/** Of random data in the container that is packaged: what cannot be compressed costs all Engines the same. */
const PACKAGED_MEGABYTES = 500

export interface BenchOptions {
  socketPath: string
  json: boolean
  /** Names of {@link measurements}; all if left out. */
  only?: string[]
}

/** Measures everything on one Engine, for Host and Runner alike, and prints a table or JSON. Resolves to the exit code. */
export async function main({ socketPath, json, only }: BenchOptions): Promise<number> {
  await ensureBusybox(socketPath)
  const cluster = await startCluster({ hostSocket: socketPath, nodes: { bench: socketPath } })
  try {
    const results = await measure({ cluster, engine: createRawEngine(socketPath), socketPath, only })
    console.log(json ? JSON.stringify(results, undefined, 2) : toTable(results))
    return results.every(({ met }) => met) ? 0 : 1
  } finally {
    await cluster.client.call('deleteContainer', { params: { name: ENVIRONMENT } }).catch(() => undefined)
    await cluster.stop()
  }
}

// --- internal ---

interface BenchContext {
  cluster: Cluster
  engine: RawEngine
  socketPath: string
  only: string[] | undefined
}

/** In this order: the last one makes the container large. */
const measurements: Record<string, (context: BenchContext) => Promise<Result[]>> = {
  submit: async (context) => [await measureSubmit(taskBench(context), 25)],
  parallel: async (context) => [await measureParallel(taskBench(context), 9)],
  shell: ({ cluster, socketPath }) => shellResults(cluster, socketPath),
  memory: async ({ cluster }) => [await measureMemory(cluster, ENVIRONMENT)],
  environment: ({ socketPath }) => measureEnvironment(socketPath),
  fleet: ({ socketPath }) => measureFleet(socketPath),
  large: ({ socketPath }) => measureLarge(socketPath),
  packaging: async ({ cluster, engine }) => {
    await must(cluster, 'hakuriver.docker-shell', [ENVIRONMENT], `head -c ${PACKAGED_MEGABYTES}000000 /dev/urandom > /ballast\n`)
    return [await measurePackaging({ cluster, engine, environment: ENVIRONMENT }, 3)]
  },
}

async function measure(context: BenchContext): Promise<Result[]> {
  await must(context.cluster, 'hakuriver.docker', ['create-container', '--if-not-exists', IMAGE, ENVIRONMENT])
  await must(context.cluster, 'hakuriver.docker', ['create-tar', ENVIRONMENT])
  const results: Result[] = []
  for (const [name, work] of Object.entries(measurements)) {
    if (context.only && !context.only.includes(name)) continue
    console.error(`[hakuriver] [bench] ${name} …`)
    results.push(...(await work(context)))
  }
  return results
}

function taskBench({ cluster, engine }: BenchContext): TaskBench {
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
    ['', 'raw Engine', 'HakuRiver', 'ratio', 'target', ''],
    ...results.map(({ what, raw, ours, unit, ratio, target, met }) => [what, raw > 0 ? `${round(raw)} ${unit}` : '–', `${round(ours)} ${unit}`, raw > 0 ? ratio.toFixed(2) : '–', target, met ? 'met' : 'MISSED']),
  ]
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? []
  const [cpu = ''] = /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.slice(1) ?? []
  return [...cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd()), '', `Node.js ${process.version}, ${cpu}`].join('\n')
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
