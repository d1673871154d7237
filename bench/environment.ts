import { createReadStream, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Task, Version } from '#core/api/schemas.ts'
import { startTestEngine } from '#test/engines/engine.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { hasImage, importImage } from '../build/engine-api.mjs'
import { provideDebianArchive } from '../build/images.mjs'
import { must, stopCluster } from './commands.ts'
import { createRawEngine, RAW_IMAGE, type RawEngine, rawPackaging } from './raw-engine.ts'
import { ratioResult, type Result, timed } from './statistics.ts'

const IMAGE = 'hakuriver-bench-debian:latest'
const NAME = 'hakuriver-bench-debian'
const INSTALL = 'export DEBIAN_FRONTEND=noninteractive; apt-get update && apt-get install -y --no-install-recommends python3-numpy g++ && apt-get clean; echo installed >&2\n'
const CHANGED_BYTES = 1_000_000

/**
 * A real environment (Debian, python3-numpy, g++), packaged the first time and after a change of 1 MB, and loaded on a node with an Engine of its
 * own; against stop + commit + save and a plain load on the same Engines.
 */
export async function measureEnvironment(socketPath: string): Promise<Result[]> {
  const node = await startTestEngine()
  const host = createRawEngine(socketPath)
  let cluster: Cluster | undefined
  try {
    if (!(await hasImage(socketPath, IMAGE))) await importImage(socketPath, createReadStream(await provideDebianArchive()), IMAGE, ['CMD ["/bin/bash"]'])
    cluster = await startCluster({ hostSocket: socketPath, nodes: { bench: node.socketPath } })
    return await measure({ cluster, host, node: createRawEngine(node.socketPath) })
  } finally {
    if (cluster) await stopCluster(cluster, NAME)
    await node.stop()
  }
}

// --- internal ---

interface Bench {
  cluster: Cluster
  host: RawEngine
  node: RawEngine
}

async function measure(bench: Bench): Promise<Result[]> {
  const { cluster } = bench
  await must(cluster, 'hakuriver.docker', ['create-container', IMAGE, NAME])
  await must(cluster, 'hakuriver.docker-shell', [NAME], INSTALL)
  const raw = await rawSeconds(bench)
  const rawLoad = await rawLoading(bench)
  const first = await packaging(bench)
  await submit(bench)
  await must(cluster, 'hakuriver.docker-shell', [NAME], `head -c ${CHANGED_BYTES} /dev/urandom > /change\n`)
  const rawAgain = await rawSeconds(bench)
  const second = await packaging(bench)
  const readBefore = processBytesRead(cluster.runners['bench']?.pid ?? 0)
  const cold = await submit(bench)
  const read = processBytesRead(cluster.runners['bench']?.pid ?? 0) - readBefore
  const warm = await submit(bench)
  rmSync(rawFile(cluster), { force: true })
  return [
    ratioResult(`first version (${megabytes(first.version.size)})`, raw, first.seconds, { unit: 's', atMost: 1 }),
    ratioResult('version after a change of 1 MB', rawAgain, second.seconds, { unit: 's', atMost: 0.25 }),
    { what: 'container away', raw: rawAgain, ours: second.away, unit: 's', ratio: second.away / rawAgain, target: '≤ 1.5 s', met: second.away <= 1.5 },
    { what: 'bytes a node reads', raw: CHANGED_BYTES / 1e6, ours: read / 1e6, unit: 'MB', ratio: read / CHANGED_BYTES, target: '≤ 1.02 × change', met: read <= 1.02 * CHANGED_BYTES },
    ratioResult('load on a node', rawLoad, (cold - warm), { unit: 's', atMost: 0.15 }),
  ]
}

function rawFile({ sharedDir }: Cluster): string {
  return join(sharedDir, 'raw.tar')
}

async function rawSeconds({ cluster, host }: Bench): Promise<number> {
  return (await rawPackaging(host, NAME, rawFile(cluster))) / 1000
}

async function rawLoading({ cluster, node }: Bench): Promise<number> {
  const ms = await timed(() => node.upload('/images/load', createReadStream(rawFile(cluster), { highWaterMark: 1024 * 1024 })))
  await node.call('DELETE', `/images/${RAW_IMAGE}`)
  return ms / 1000
}

async function packaging({ cluster, host }: Bench): Promise<{ seconds: number; away: number; version: Version }> {
  let version: Version | undefined
  const ms = await timed(async () => {
    const { stdout } = await must(cluster, 'hakuriver.docker', ['create-tar', NAME, '--json'])
    version = JSON.parse(stdout) as Version
  })
  if (!version) throw new Error('create-tar told no version')
  const { State } = JSON.parse(await host.call('GET', `/containers/${NAME}/json`)) as { State: { StartedAt: string; FinishedAt: string } }
  return { seconds: ms / 1000, away: (Date.parse(State.StartedAt) - Date.parse(State.FinishedAt)) / 1000, version }
}

/** Seconds from submit to the end of `true`. */
async function submit({ cluster }: Bench): Promise<number> {
  const ms = await timed(async () => {
    const { stdout } = await must(cluster, 'hakuriver.task', ['submit', '--target', 'bench', '--container', NAME, '--wait', '--json', '--', 'true'])
    const { state } = JSON.parse(stdout) as Task
    if (state !== 'succeeded') throw new Error(`the task ended ${state}`)
  })
  return ms / 1000
}

/** Bytes that a process has read so far, whatever from (`rchar` of proc(5)). */
function processBytesRead(pid: number): number {
  const [, bytes = 'NaN'] = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8')) ?? []
  return Number(bytes)
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`
}
