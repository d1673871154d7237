import { createWriteStream, rmSync } from 'node:fs'
import { join } from 'node:path'
import { median } from '#simulator/percentile.ts'
import type { Cluster } from '#test/support/cluster.ts'
import type { RawEngine } from './raw-engine.ts'
import { ratioResult, type Result, timed } from './statistics.ts'

export interface PackagingBench {
  cluster: Cluster
  /** Of the Host's Engine. */
  engine: RawEngine
  environment: string
}

/** Packaging against stop + commit + save to a file of the same storage + start, turn by turn on the same container. */
export async function measurePackaging(bench: PackagingBench, rounds: number): Promise<Result> {
  const raw: number[] = []
  const ours: number[] = []
  for (let round = 0; round < rounds; round++) {
    raw.push(await timed(() => rawPackaging(bench)) / 1000)
    await bench.engine.call('POST', `/containers/${bench.environment}/start`)
    await bench.engine.call('DELETE', '/images/hakuriver-bench-raw:latest')
    ours.push(await timed(() => packaging(bench)) / 1000)
  }
  return ratioResult('packaging 500 MB again', median(raw), median(ours), { unit: 's', atMost: 0.25 })
}

// --- internal ---

async function rawPackaging({ cluster, engine, environment }: PackagingBench): Promise<void> {
  const file = join(cluster.sharedDir, 'raw.tar')
  await engine.call('POST', `/containers/${environment}/stop`)
  await engine.call('POST', `/commit?container=${environment}&repo=hakuriver-bench-raw&tag=latest&pause=false`, {})
  await engine.download('/images/hakuriver-bench-raw:latest/get', createWriteStream(file))
  rmSync(file)
}

async function packaging({ cluster, environment }: PackagingBench): Promise<void> {
  let operation = await cluster.client.call('createVersion', { params: { name: environment }, body: {} })
  while (operation.state === 'running') operation = await cluster.client.call('getOperation', { params: { id: operation.id }, query: { wait: 60 }, timeoutMs: 90_000 })
  if (operation.state !== 'succeeded') throw new Error(`packaging ended ${operation.state}: ${operation.error?.detail}`)
}
