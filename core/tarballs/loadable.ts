import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { HakuError } from '../errors.ts'
import { blobPath, imageDocuments } from './documents.ts'
import type { VersionLayer, VersionManifest } from './manifest.ts'
import type { TarballEntry } from './store.ts'
import { encodeFile } from './tar/encode.ts'
import { END_OF_ARCHIVE, padding } from './tar/entry.ts'

export interface LoadableOptions {
  entry: TarballEntry
  manifest: VersionManifest
  /** The layers to put in, lowest first. An Engine takes the rest from what it has. */
  layers: readonly VersionLayer[]
  /** The plain tar of one layer, from wherever it may be had. */
  read(layer: VersionLayer): Promise<Readable>
  /** The image's name on the Engine; that of its environment if left out. */
  tag?: string
  /** Bytes of the layers so far. */
  onProgress?: (bytes: number) => void
}

/**
 * An archive for an Engine to load, whole or partial, made while it streams by: layers from the tarball, documents from the manifest.
 *
 * Every layer is checked against its digest on the way. The documents come last, and an Engine takes nothing from an archive without
 * them: the stream fails with `tarball.damaged` before, and nothing is loaded. Whatever else the tarball says of itself is not read.
 */
export function openLoadable(options: LoadableOptions): Readable {
  return Readable.from(archive(options), { objectMode: false, highWaterMark: 512 * 1024 })
}

// --- internal ---

async function* archive({ entry, manifest, layers, read, tag, onProgress }: LoadableOptions): AsyncGenerator<Buffer> {
  const { configDigest, manifestDigest, files } = imageDocuments(manifest, tag)
  assertSame(entry, 'the image configuration', manifest.configDigest, configDigest)
  assertSame(entry, 'the image manifest', manifest.manifestDigest, manifestDigest)
  let done = 0
  // An image may have the same layer twice; an archive has it once.
  for (const layer of new Map(layers.map((each) => [each.digest, each])).values()) {
    yield encodeFile(blobPath(layer.digest), layer.size)
    const hash = createHash('sha256')
    let length = 0
    for await (const chunk of (await read(layer)) as AsyncIterable<Buffer>) {
      hash.update(chunk)
      length += chunk.length
      if (length > layer.size) break
      onProgress?.(done + length)
      yield chunk
    }
    assertSame(entry, `layer ${layer.digest}`, layer.size, length)
    assertSame(entry, 'a layer', layer.digest, `sha256:${hash.digest('hex')}`)
    yield padding(layer.size)
    done += layer.size
  }
  for (const { name, bytes } of files) yield Buffer.concat([encodeFile(name, bytes.length), bytes, padding(bytes.length)])
  yield END_OF_ARCHIVE
}

function assertSame(entry: TarballEntry, what: string, expected: string | number, found: string | number): void {
  if (expected === found) return
  throw new HakuError('tarball.damaged', `${entry.fileName} is damaged: for ${what} its manifest says ${expected}, found ${found}. Nothing was loaded. Package the environment again.`)
}
