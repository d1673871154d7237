import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { digestOf } from '#test/support/bytes.ts'

/** Small archives as Engines write them, made in code. */

export interface Entry {
  name: string
  content?: Buffer | string
  /** A symbolic link to there. */
  link?: string
}

/** A layer: a plain tar with one file. */
export async function layerTar(file: string, content: Buffer | string): Promise<Buffer> {
  return tarOf([{ name: file, content }])
}

export async function tarOf(entries: Entry[]): Promise<Buffer> {
  const archive = pack()
  for (const { name, content, link } of entries) {
    if (link !== undefined) archive.entry({ name, type: 'symlink', linkname: link })
    else archive.entry({ name, mtime: new Date(0) }, content ?? '')
  }
  archive.finalize()
  return buffer(archive)
}

/** In pieces of odd sizes, as a socket gives them. */
export function streamOf(bytes: Buffer, pieceSize = 21_001): Readable {
  const count = Math.ceil(bytes.length / pieceSize)
  return Readable.from(Array.from({ length: count }, (_, index) => bytes.subarray(index * pieceSize, (index + 1) * pieceSize)), { objectMode: false })
}

export function configOf(layers: Buffer[]): string {
  const run = { Hostname: '0123456789ab', Image: 'busybox', Cmd: ['sleep', 'infinity'], Env: ['A=1'], Labels: { 'hakuriver.container': 'env' } }
  return JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    container: '0123456789ab',
    container_config: run,
    config: run,
    history: layers.map(() => ({ created_by: 'sh' })),
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
  })
}

/** Engine 20.10: folders of a name of their own, `manifest.json` last, a repeated layer as a link. */
export function legacyArchive(layers: Buffer[], config = configOf(layers)): Promise<Buffer> {
  const folders = layers.map((_, index) => String(index + 1).repeat(64).slice(0, 64))
  const first = layers.map((layer) => layers.findIndex((other) => other.equals(layer)))
  const configName = `${hex(config)}.json`
  return tarOf([
    ...layers.flatMap((layer, index): Entry[] => [
      { name: `${folders[index]}/VERSION`, content: '1.0' },
      { name: `${folders[index]}/json`, content: '{"id":"x"}' },
      first[index] === index ? { name: `${folders[index]}/layer.tar`, content: layer } : { name: `${folders[index]}/layer.tar`, link: `../${folders[first[index] ?? 0]}/layer.tar` },
    ]),
    { name: configName, content: config },
    { name: 'manifest.json', content: JSON.stringify([{ Config: configName, RepoTags: null, Layers: folders.map((folder) => `${folder}/layer.tar`) }]) },
    { name: 'repositories', content: '{}' },
  ])
}

export interface OciOptions {
  config?: string
  /** As the containerd image store keeps it. */
  gzip?: boolean
  /** Write `manifest.json` too. */
  withManifest?: boolean
  /** An index within the index, with an attestation and a platform that is not there. */
  nested?: boolean
  /** Entries that belong to no image. */
  extra?: Entry[]
}

/** Engine 25 and later. */
export async function ociArchive(layers: Buffer[], { config = configOf(layers), gzip = false, withManifest = true, nested = false, extra = [] }: OciOptions = {}): Promise<Buffer> {
  const blobs = new Map<string, Buffer>()
  const put = (content: Buffer | string) => {
    const bytes = Buffer.from(content)
    blobs.set(blobName(bytes), bytes)
    return { digest: digestOf(bytes), size: bytes.length }
  }
  const stored = layers.map((layer) => put(gzip ? gzipSync(layer) : layer))
  const image = put(JSON.stringify({ schemaVersion: 2, config: put(config), layers: stored }))
  const top = nested ? put(JSON.stringify({ schemaVersion: 2, manifests: [...strangers(put), image] })) : image
  return tarOf([
    ...[...blobs].sort(([left], [right]) => (left < right ? -1 : 1)).map(([name, content]) => ({ name, content })),
    ...extra,
    { name: 'index.json', content: JSON.stringify({ schemaVersion: 2, manifests: [top] }) },
    ...(withManifest ? [{ name: 'manifest.json', content: JSON.stringify([{ Config: blobName(config), RepoTags: ['x:y'], Layers: stored.map(({ digest }) => `blobs/sha256/${digest.slice(7)}`) }]) }] : []),
    { name: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' },
  ])
}

export function blobName(content: Buffer | string): string {
  return `blobs/sha256/${hex(content)}`
}

// --- internal ---

function hex(content: Buffer | string): string {
  return digestOf(content).slice('sha256:'.length)
}

function strangers(put: (content: string) => { digest: string; size: number }) {
  const statement = put('{"predicateType":"https://slsa.dev/provenance/v0.2"}')
  const attestation = put(JSON.stringify({ config: put('{"architecture":"unknown"}'), layers: [statement] }))
  return [
    { digest: `sha256:${'a'.repeat(64)}`, size: 5, platform: { os: 'linux', architecture: 'arm64' } },
    { ...attestation, platform: { os: 'unknown', architecture: 'unknown' }, annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
  ]
}
