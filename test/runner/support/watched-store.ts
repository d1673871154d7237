import { Readable } from 'node:stream'
import type { HakuError } from '#core/errors.ts'
import type { ByteRange, TarballStore } from '#core/tarballs/store.ts'

/** A store that tells what is read from it, and fails on demand. */
export interface WatchedStore extends TarballStore {
  /** Bytes that were read so far. */
  bytesRead: number
  /** Every range that was asked for. */
  ranges: ByteRange[]
  knobs: {
    /** Fails the streams that reach so many bytes in all with this error, each time one does. */
    failAt: { bytes: number; error: HakuError; times: number } | undefined
    /** Streams stop before these bytes until it is unset. */
    holdAt: { bytes: number; reached: () => void; until: Promise<void> } | undefined
    /** Answers of `find` that come too early. */
    missesToCome: number
  }
}

export function watchStore(store: TarballStore): WatchedStore {
  async function* watched(source: Readable): AsyncGenerator<Buffer> {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      const { failAt, holdAt } = watching.knobs
      if (failAt && failAt.times > 0 && watching.bytesRead + chunk.length > failAt.bytes) {
        failAt.times -= 1
        throw failAt.error
      }
      if (holdAt && watching.bytesRead + chunk.length > holdAt.bytes) {
        holdAt.reached()
        await holdAt.until
      }
      watching.bytesRead += chunk.length
      yield chunk
    }
  }

  const watching: WatchedStore = {
    ...store,
    bytesRead: 0,
    ranges: [],
    knobs: { failAt: undefined, holdAt: undefined, missesToCome: 0 },
    async find(environment, version) {
      watching.knobs.missesToCome -= 1
      return watching.knobs.missesToCome >= 0 ? undefined : store.find(environment, version)
    },
    async read(environment, version, range) {
      const source = await store.read(environment, version, range)
      if (range) watching.ranges.push(range)
      const stream = Readable.from(watched(source), { objectMode: false })
      stream.on('close', () => source.destroy())
      return stream
    },
  }
  return watching
}
