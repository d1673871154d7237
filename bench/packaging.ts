import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from '#test/support/cluster.ts'
import { type RawEngine, rawPackaging } from './raw-engine.ts'
import { median, ratioResult, type Result, timed } from './statistics.ts'

export interface PackagingBench {
  cluster: Cluster
  /** Of the Host's Engine. */
  engine: RawEngine
  environment: string
}

/** Packaging against stop + commit + save to a file of the same storage, turn by turn on the same container. */
export async function measurePackaging(bench: PackagingBench, rounds: number): Promise<Result> {
  const file = join(bench.cluster.sharedDir, 'raw.tar')
  const raw: number[] = []
  const ours: number[] = []
  for (let round = 0; round < rounds; round++) {
    raw.push((await rawPackaging(bench.engine, bench.environment, file)) / 1000)
    rmSync(file)
    ours.push(await timed(() => packaging(bench)) / 1000)
  }
  return ratioResult('packaging 500 MB again', median(raw), median(ours), { unit: 's', atMost: 0.25 })
}

// --- internal ---

async function packaging({ cluster, environment }: PackagingBench): Promise<void> {
  let operation = await cluster.client.call('createVersion', { params: { name: environment }, body: {} })
  while (operation.state === 'running') operation = await cluster.client.call('getOperation', { params: { id: operation.id }, query: { wait: 60 }, timeoutMs: 90_000 })
  if (operation.state !== 'succeeded') throw new Error(`packaging ended ${operation.state}: ${operation.error?.detail}`)
}
