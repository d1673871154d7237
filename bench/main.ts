import { readFileSync } from 'node:fs'
import { startCluster, type Cluster } from '#test/support/cluster.ts'
import { ensureBusybox } from '#test/support/images.ts'
import { measureMemory } from './memory.ts'
import { measurePackaging } from './packaging.ts'
import { createRawEngine, type RawEngine } from './raw-engine.ts'
import { measureShell } from './shell.ts'
import { ratioResult, type Result } from './statistics.ts'
import { measureParallel, measureSubmit } from './tasks.ts'

const ENVIRONMENT = 'hakuriver-bench'
const IMAGE = 'busybox:latest'
/** Of random data in the container that is packaged: what cannot be compressed costs all Engines the same. */
const PACKAGED_MEGABYTES = 500

/** Measures everything on one Engine, for Host and Runner alike, and prints a table or JSON. Resolves to the exit code. */
export async function main({ socketPath, json }: { socketPath: string; json: boolean }): Promise<number> {
  await ensureBusybox(socketPath)
  const cluster = await startCluster({ hostSocket: socketPath, nodes: { bench: socketPath } })
  try {
    const results = await measure(cluster, createRawEngine(socketPath), socketPath)
    console.log(json ? JSON.stringify(results, undefined, 2) : toTable(results))
    return results.every(({ met }) => met) ? 0 : 1
  } finally {
    await cluster.client.call('deleteContainer', { params: { name: ENVIRONMENT } }).catch(() => undefined)
    await cluster.stop()
  }
}

// --- internal ---

async function measure(cluster: Cluster, engine: RawEngine, socketPath: string): Promise<Result[]> {
  await must(cluster, 'hakuriver.docker', ['create-container', '--if-not-exists', IMAGE, ENVIRONMENT])
  await must(cluster, 'hakuriver.docker', ['create-tar', ENVIRONMENT])
  const bench = { cluster, engine, node: 'bench', environment: ENVIRONMENT, image: IMAGE }
  const results = [await progress('submit', () => measureSubmit(bench, 25)), await progress('parallel', () => measureParallel(bench, 7))]
  results.push(...(await progress('shell', () => shellResults(cluster, socketPath))))
  results.push(await progress('memory', () => measureMemory(cluster, ENVIRONMENT)))
  await must(cluster, 'hakuriver.docker-shell', [ENVIRONMENT], `head -c ${PACKAGED_MEGABYTES}000000 /dev/urandom > /ballast\n`)
  results.push(await progress('packaging', () => measurePackaging(bench, 3)))
  return results
}

async function shellResults(cluster: Cluster, socketPath: string): Promise<Result[]> {
  const { echoMs, throughput } = await measureShell({ socketPath, hostUrl: cluster.url, token: cluster.token, container: ENVIRONMENT })
  return [
    { what: 'shell echo p50', raw: echoMs.raw, ours: echoMs.host, unit: 'ms', ratio: echoMs.host / echoMs.raw, target: '≤ raw + 1 ms', met: echoMs.host <= echoMs.raw + 1 },
    ratioResult('shell throughput', throughput.raw, throughput.host, { unit: 'MB/s', atLeast: 0.85 }),
  ]
}

async function must(cluster: Cluster, command: string, args: string[], input?: string): Promise<void> {
  const { code, stderr } = await cluster.run(command, args, input === undefined ? {} : { input })
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${stderr}`)
}

async function progress<T>(what: string, work: () => Promise<T>): Promise<T> {
  console.error(`[hakuriver] [bench] ${what} …`)
  return work()
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
