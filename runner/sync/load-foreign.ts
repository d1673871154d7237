import { Readable } from 'node:stream'
import type { VersionOrder } from '#core/api/schemas.ts'
import type { Engine } from '#core/engine/engine.ts'
import { HakuError } from '#core/errors.ts'
import { labels } from '#core/paths.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { failed, findByDigest, type LoadSource, tellLoaded } from './loading.ts'
import { createProgressMeter } from './progress.ts'

/** Loads all of a tarball that other tools made: nobody knows what is in it but the Engine. @throws `tarball.damaged`, `storage.unavailable`, `engine.failed` */
export async function loadForeign({ engine, store, entry, order, signal, onProgress }: LoadSource): Promise<string> {
  const { environment, version, fileName } = order
  const meter = createProgressMeter(onProgress)
  const started = Date.now()
  meter.begin(entry.size)
  const archive = countBytes(await store.read(environment, version, { start: 0, end: entry.size }), meter.advance)
  const loaded = await engine.loadImage(archive, { signal }).catch((error: unknown) => failed(order, error))
  const imageId = (await findByDigest(engine, order)) ?? (await findAmong(engine, order, loaded))
  if (imageId === undefined) {
    throw new HakuError('tarball.damaged', `${fileName} was loaded, and the image it should hold is not there: the Engine names ${loaded.join(', ') || 'nothing'}. Package the environment again.`)
  }
  tellLoaded(fileName, formatSize(entry.size), started)
  return imageId
}

// --- internal ---

function countBytes(source: Readable, onBytes: (bytes: number) => void): Readable {
  async function* counted(): AsyncGenerator<Buffer> {
    let bytes = 0
    for await (const chunk of source as AsyncIterable<Buffer>) {
      onBytes((bytes += chunk.length))
      yield chunk
    }
  }
  return Readable.from(counted(), { objectMode: false, highWaterMark: 512 * 1024 })
}

/** The image with our labels, or the only one. */
async function findAmong(engine: Engine, order: VersionOrder, references: string[]): Promise<string | undefined> {
  if (order.configDigest !== null) return undefined
  const found = (await Promise.all(references.map((reference) => engine.inspectImage(reference)))).flatMap((image) => image ?? [])
  const labelled = found.find((image) => image.labels[labels.environment] === order.environment && image.labels[labels.version] === String(order.version))
  const ids = new Set(found.map(({ id }) => id))
  return labelled?.id ?? (ids.size === 1 ? [...ids][0] : undefined)
}
