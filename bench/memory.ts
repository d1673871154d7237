import { spawn } from 'node:child_process'
import type { Cluster } from '#test/support/cluster.ts'
import { processMegabytes } from '#simulator/process.ts'
import type { Result } from './statistics.ts'

const STREAMED_BYTES = 1_000_000_000
const LIMIT_MB = 130
/** The reader takes a piece, then rests: far slower than the shell prints. */
const PIECE_BYTES = 4 * 1024 * 1024
const REST_MS = 25

/** The most memory (RSS) that the Host uses while 1 GB streams out of a shell to a slow reader, in MB. Also proves that every byte arrives. */
export async function measureMemory(cluster: Cluster, environment: string): Promise<Result> {
  const child = spawn('hakuriver.docker-shell', [environment], { env: cluster.env, stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(`head -c ${STREAMED_BYTES} /dev/zero\n`)
  let received = 0
  let sinceRest = 0
  let peak = 0
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    received += chunk.length
    sinceRest += chunk.length
    if (sinceRest < PIECE_BYTES) continue
    sinceRest = 0
    peak = Math.max(peak, processMegabytes(cluster.host.pid, 'VmRSS'))
    await new Promise((resolve) => setTimeout(resolve, REST_MS))
  }
  if (received !== STREAMED_BYTES) throw new Error(`${received} of ${STREAMED_BYTES} bytes arrived`)
  return { what: 'Host memory, 1 GB to a slow reader', raw: 0, ours: peak, unit: 'MB', ratio: NaN, target: `≤ ${LIMIT_MB} MB`, met: peak <= LIMIT_MB }
}
