import { errorMessage, HakuError } from '../errors.ts'
import { tarballFileName } from '../paths.ts'
import { blobPath, imageDocuments } from './documents.ts'
import { imageConfig, type ImageIdentity } from './image-config.ts'
import { MAX_IMAGE_LAYERS, type VersionLayer, type VersionManifest } from './manifest.ts'
import type { SpooledLayer } from './spool.ts'
import type { TarballWriter } from './store.ts'
import { encodeFile } from './tar/encode.ts'
import { END_OF_ARCHIVE, padding, paddedSize } from './tar/entry.ts'

export interface AssembleOptions {
  /** Begins with {@link reused}, and with nothing else. */
  writer: TarballWriter
  /** Layers that the writer begins with, lowest first, where they stand in it. */
  reused: readonly VersionLayer[]
  /** Layers that come on top, lowest first. */
  added: readonly SpooledLayer[]
  /** How many of all layers are the base image's. */
  baseLayers: number
  baseImage: string
  note: string
  image: ImageIdentity
  restores?: number
  signal?: AbortSignal
  /** Bytes of the tarball so far. */
  onProgress?: (bytes: number) => void
}

/**
 * Writes the rest of a tarball: the new layers, then the documents; see `documents.ts` for the layout. Resolves to its manifest; the caller
 * publishes it, or aborts the writer after a failure.
 *
 * Nothing in it depends on anything but its layers and {@link ImageIdentity}: the same environment packaged again gives the same layers
 * at the same places.
 *
 * @throws `image.too_many_layers` before anything is written
 */
export async function assembleTarball(options: AssembleOptions): Promise<VersionManifest> {
  const { writer, reused, added, image, signal, onProgress } = options
  assertLayerCount(image, reused.length + added.length)
  const layers = [...reused]
  let newBytes = 0
  for (const layer of added) {
    const { digest, size } = layer
    const twin = layers.find((other) => other.digest === digest)
    if (twin) {
      layers.push(twin)
      continue
    }
    await writer.write(encodeFile(blobPath(digest), size))
    layers.push({ diffId: digest, digest, offset: writer.position, size })
    await copyLayer(layer, options)
    newBytes += size
    await writer.write(padding(size))
  }
  const config = imageConfig(image, layers.map(({ digest }) => digest))
  const { configDigest, manifestDigest, files } = imageDocuments({ environment: image.environment, config, layers })
  for (const { name, bytes } of files) await writer.write(Buffer.concat([encodeFile(name, bytes.length), bytes, padding(bytes.length)]))
  await writer.write(END_OF_ARCHIVE)
  onProgress?.(writer.position)
  await writer.finish()
  signal?.throwIfAborted()
  const { environment, version, created, author, architecture, os } = image
  const { baseImage, baseLayers, note, restores } = options
  return {
    formatVersion: 2, environment, version, baseImage, created, author, note, configDigest, manifestDigest,
    size: writer.position, newBytes,
    architecture, os, config, layers, baseLayers, ...(restores !== undefined && { restores }),
  }
}

/** Where the layers of a tarball end: what a new tarball that keeps them all begins with. 0 if there are none. */
export function layersEnd(layers: readonly VersionLayer[]): number {
  return layers.reduce((end, { offset, size }) => Math.max(end, offset + paddedSize(size)), 0)
}

// --- internal ---

function assertLayerCount({ environment, version }: ImageIdentity, count: number): void {
  if (count <= MAX_IMAGE_LAYERS) return
  throw new HakuError('image.too_many_layers', `${tarballFileName(environment, version)} would have ${count} layers, and an Engine takes ${MAX_IMAGE_LAYERS}. Start from an image with fewer layers, or squash the one that the environment began with ("docker export" of a container of it, then "docker import"). Nothing was published.`)
}

async function copyLayer(layer: SpooledLayer, { writer, image, signal, onProgress }: AssembleOptions): Promise<void> {
  let copied = 0
  const source = layer.open()
  /** Chunks on their way: reading goes on while they are written. */
  const writing: Promise<void>[] = []
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      signal?.throwIfAborted()
      copied += chunk.length
      const written = writer.write(chunk)
      // Told when its turn comes; alone it must not count as unhandled.
      written.catch(() => undefined)
      writing.push(written)
      if (writing.length === PARALLEL_WRITES) await writing.shift()
      onProgress?.(writer.position)
    }
    await Promise.all(writing)
  } catch (error) {
    source.destroy()
    await Promise.allSettled(writing)
    throw error
  }
  if (copied !== layer.size) throw new HakuError('internal.error', `The new layer of ${tarballFileName(image.environment, image.version)} has ${copied} of ${layer.size} bytes: ${errorMessage(source.errored)}`)
}

const PARALLEL_WRITES = 3
