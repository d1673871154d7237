import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { startTestEngine, type TestEngine } from '#test/engines/engine.ts'
import { startCluster } from '#test/support/cluster.ts'
import { createTestBucket, type TestBucket } from '#test/support/s3-bucket.ts'
import { type S3Server, startS3Server, whyNoS3Server } from '#test/support/s3-server.ts'
import { must, stopCluster } from './commands.ts'
import { type Result, timed } from './statistics.ts'

const NAME = 'hakuriver-bench-fleet'
const RUNNERS = 8
const BALLAST_BYTES = 60_000_000
/** Of the link to the storage, for all nodes together. */
const BYTES_PER_SECOND = 50_000_000

/** What eight nodes, each with an Engine of its own, read from a storage behind a narrow link when all want a new version: each by itself, and as neighbours. */
export async function measureFleet(socketPath: string): Promise<Result[]> {
  const missing = await whyNoS3Server()
  // Which it has told.
  if (missing) return []
  const engines: TestEngine[] = []
  const server = await startS3Server()
  const bucket = await createTestBucket(server)
  try {
    for (let count = 0; count < RUNNERS; count += 1) engines.push(await startTestEngine())
    const fleet = { socketPath, engines, server, bucket }
    const alone = await distribute(fleet, false)
    const shared = await distribute(fleet, true)
    return [
      { what: `storage bytes, ${RUNNERS} nodes, one version`, raw: alone.bytes / 1e6, ours: shared.bytes / 1e6, unit: 'MB', ratio: shared.bytes / alone.bytes, target: `≤ ${2 / RUNNERS} × without sharing`, met: shared.bytes <= (2 / RUNNERS) * alone.bytes },
      { what: `until all ${RUNNERS} nodes have it`, raw: alone.seconds, ours: shared.seconds, unit: 's', ratio: shared.seconds / alone.seconds, target: '≤ without sharing', met: shared.seconds <= alone.seconds },
    ]
  } finally {
    for (const engine of engines) await engine.stop()
    await bucket.remove()
    await server.close()
  }
}

// --- internal ---

interface Fleet {
  socketPath: string
  engines: readonly TestEngine[]
  server: S3Server
  bucket: TestBucket
}

/** Packages a new version and loads it on all nodes at once. */
async function distribute({ socketPath, engines, server, bucket }: Fleet, isShared: boolean): Promise<{ bytes: number; seconds: number }> {
  const link = await startLink(server.endpoint)
  const { accessKeyId, secretAccessKey } = server.credentials
  const { bucket: name, prefix } = bucket.options
  const cluster = await startCluster({
    hostSocket: socketPath,
    nodes: Object.fromEntries(engines.map((engine, index) => [`node${index}`, engine.socketPath])),
    config: { storage: { url: `s3://${name}/${prefix.replace(/\/$/, '')}`, endpoint: link.endpoint }, runner: { share_layers: isShared } },
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  })
  try {
    await must(cluster, 'hakuriver.docker', ['create-container', 'busybox:latest', NAME])
    await must(cluster, 'hakuriver.docker-shell', [NAME], `head -c ${BALLAST_BYTES} /dev/urandom > /ballast\n`)
    await must(cluster, 'hakuriver.docker', ['create-tar', NAME])
    const before = link.bytes()
    const ms = await timed(() => must(cluster, 'hakuriver', ['env', 'prefetch', NAME, '--all']))
    return { bytes: link.bytes() - before, seconds: ms / 1000 }
  } finally {
    await stopCluster(cluster, NAME)
    await link.close()
  }
}

/** A narrow link to a server: TCP, with so many bytes a second from there to here, whoever asks. */
async function startLink(endpoint: string): Promise<{ endpoint: string; bytes(): number; close(): Promise<void> }> {
  const target = new URL(endpoint)
  const sockets = new Set<{ destroy(): void }>()
  let bytes = 0
  let freeAt = 0
  async function* narrow(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      bytes += chunk.length
      freeAt = Math.max(freeAt, Date.now()) + (1000 * chunk.length) / BYTES_PER_SECOND
      await setTimeout(freeAt - Date.now())
      yield chunk
    }
  }
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
    }
    client.pipe(upstream)
    // Either end may leave: whoever is served by it tells.
    pipeline(upstream, narrow, client).catch(() => undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes: () => bytes,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
