import { Readable } from 'node:stream'
import { assembleTarball, layersEnd } from '#core/tarballs/assemble.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { encodeEntry } from '#core/tarballs/tar/encode.ts'
import { END_OF_ARCHIVE, padding, type TarEntry } from '#core/tarballs/tar/entry.ts'
import { digestOf } from './bytes.ts'

/** A file of a layer: its content, or what else it is. */
export type LayerFile = string | Buffer | (Partial<TarEntry> & { content?: string | Buffer })

/** A layer of these paths, as latin1. `dir/` is a directory, `dir/.wh.x` says that `dir/x` is gone. */
export function layerOf(files: Record<string, LayerFile>): Buffer {
  const parts = Object.entries(files).flatMap(([path, file]) => {
    const isPlain = typeof file === 'string' || Buffer.isBuffer(file)
    const content = Buffer.from((isPlain ? file : file.content) ?? '')
    const isDirectory = path.endsWith('/')
    const base: TarEntry = { path: path.replace(/\/$/, ''), type: isDirectory ? 'directory' : 'file', mode: isDirectory ? 0o755 : 0o644, uid: 0, gid: 0, size: content.length, mtime: '1700000000', target: '', major: 0, minor: 0, xattrs: new Map() }
    const { content: _, ...given } = isPlain ? {} : { ...file, content: undefined }
    return [encodeEntry({ ...base, ...given }), content, padding(content.length)]
  })
  return Buffer.concat([...parts, END_OF_ARCHIVE])
}

export interface PublishedVersion {
  environment: string
  version: number
  /** Lowest first. */
  layers: Buffer[]
  note?: string
  /** Begins as this one does. */
  onTopOf?: VersionManifest
}

/** Publishes a version as packaging does. */
export async function publishVersion(tarballs: TarballStore, { environment, version, layers, note = '', onTopOf }: PublishedVersion): Promise<VersionManifest> {
  const start = onTopOf && { environment: onTopOf.environment, version: onTopOf.version, length: layersEnd(onTopOf.layers) }
  const writer = await tarballs.createWriter(environment, version, start)
  const added = layers.map((layer) => ({ digest: digestOf(layer), size: layer.length, open: () => Readable.from([layer], { objectMode: false }) }))
  const image = { environment, version, author: 'me', created: new Date(version * 1000).toISOString(), architecture: 'amd64', os: 'linux', env: ['A=1'], baseConfig: { Cmd: ['sh'] } }
  const manifest = await assembleTarball({ writer, reused: onTopOf?.layers ?? [], added, baseLayers: 1, baseImage: 'busybox:latest', note, image })
  await writer.publish(manifest)
  return manifest
}
