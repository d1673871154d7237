import { startTestEngine } from '#test/engines/engine.ts'
import { type Cluster, startCluster } from '#test/support/cluster.ts'
import { must, stopCluster } from './commands.ts'
import { processMegabytes } from '#simulator/process.ts'
import type { Result } from './statistics.ts'

const NAME = 'hakuriver-bench-large'
const FILES = 40
const FILE_MEGABYTES = 100

/** Peak memory of Host and Runner while a version of 4 GB is packaged and loaded on a node with an Engine of its own. */
export async function measureLarge(socketPath: string): Promise<Result[]> {
  const node = await startTestEngine()
  let cluster: Cluster | undefined
  try {
    cluster = await startCluster({ hostSocket: socketPath, nodes: { bench: node.socketPath } })
    await must(cluster, 'hakuriver.docker', ['create-container', 'busybox:latest', NAME])
    await must(cluster, 'hakuriver.docker-shell', [NAME], `for i in $(seq ${FILES}); do head -c ${FILE_MEGABYTES}000000 /dev/urandom > /ballast-$i; done\n`)
    await must(cluster, 'hakuriver.docker', ['create-tar', NAME])
    await must(cluster, 'hakuriver.task', ['submit', '--target', 'bench', '--container', NAME, '--wait', '--', 'true'])
    return [peak('Host', cluster.host.pid), peak('Runner', cluster.runners['bench']?.pid ?? 0)]
  } finally {
    if (cluster) await stopCluster(cluster, NAME)
    await node.stop()
  }
}

// --- internal ---

const LIMIT_MEGABYTES = 200

function peak(who: string, pid: number): Result {
  const ours = processMegabytes(pid, 'VmHWM')
  return { what: `${who} memory, version of ${(FILES * FILE_MEGABYTES) / 1000} GB`, raw: 0, ours, unit: 'MB', ratio: NaN, target: `≤ ${LIMIT_MEGABYTES} MB`, met: ours <= LIMIT_MEGABYTES }
}
