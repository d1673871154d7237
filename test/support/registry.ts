import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { buffer } from 'node:stream/consumers'
import { digestOf } from './bytes.ts'

export interface TestRegistry {
  /** `127.0.0.1:port`: Engines speak plain HTTP to it. */
  address: string
  /** Resolves when somebody asks for the repository `stuck`, which is never answered. */
  stuck: Promise<void>
  close(): Promise<void>
}

/** A registry with the image `tool:one`; all else is unknown to it. */
export async function startRegistry(architecture: string): Promise<TestRegistry> {
  const content = await createContent(architecture)
  const server = createServer()
  const stuck = new Promise<void>((resolve) => {
    server.on('request', (request, response) => {
      if (request.url?.startsWith('/v2/stuck/')) resolve()
      else answer(content, request, response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    stuck,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

// --- internal ---

interface Item {
  type: string
  bytes: Buffer
}

async function createContent(architecture: string): Promise<Map<string, Item>> {
  const archive = pack()
  // More than one message of progress, and not compressible to nothing.
  archive.entry({ name: 'greeting' }, Buffer.concat([Buffer.from('hello\n'), Buffer.alloc(200_000, createHash('sha512').update('x').digest())]))
  archive.finalize()
  const tar = await buffer(archive)
  const layer: Item = { type: 'application/vnd.docker.image.rootfs.diff.tar.gzip', bytes: gzipSync(tar) }
  const config = json('application/vnd.docker.container.image.v1+json', { architecture, os: 'linux', config: { Cmd: ['/x'] }, rootfs: { type: 'layers', diff_ids: [digestOf(tar)] } })
  const manifestType = 'application/vnd.docker.distribution.manifest.v2+json'
  const manifest = json(manifestType, { schemaVersion: 2, mediaType: manifestType, config: describeItem(config), layers: [describeItem(layer)] })
  return new Map([
    ['/v2/', json('application/json', {})],
    ['/v2/tool/manifests/one', manifest],
    [`/v2/tool/manifests/${digestOf(manifest.bytes)}`, manifest],
    [`/v2/tool/blobs/${digestOf(config.bytes)}`, config],
    [`/v2/tool/blobs/${digestOf(layer.bytes)}`, layer],
  ])
}

function answer(content: Map<string, Item>, request: IncomingMessage, response: ServerResponse): void {
  const item = content.get(request.url ?? '')
  if (!item) {
    response.writeHead(404, { 'Content-Type': 'application/json' }).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
    return
  }
  response.writeHead(200, { 'Content-Type': item.type, 'Content-Length': item.bytes.length, 'Docker-Content-Digest': digestOf(item.bytes), 'Docker-Distribution-Api-Version': 'registry/2.0' })
  response.end(request.method === 'HEAD' ? undefined : item.bytes)
}

function json(type: string, value: unknown): Item {
  return { type, bytes: Buffer.from(JSON.stringify(value)) }
}

function describeItem({ type, bytes }: Item): object {
  return { mediaType: type, size: bytes.length, digest: digestOf(bytes) }
}
