import type { Spool } from '#core/tarballs/spool.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import { assertStorageRoom } from '../room.ts'
import { refused } from './refusal.ts'

/** What an upload may grow to. */
export interface Limits {
  /** Counts what comes from the client. */
  received(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer>
  /** Counts what comes out of a compressed archive. */
  inflated(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer>
  /** Counts bytes of plain layers, before they are written. @throws `import.refused`, `storage.full` */
  spooled(bytes: number): Promise<void>
}

/** Ten times what real images reach; gzip can do a thousand. */
const MAX_RATIO = 100
/** Up to here nothing is a bomb. */
const ALWAYS_ALLOWED_BYTES = 1024 ** 3
/** Room is looked for each time so much more was written, and so much must always be left. */
const ROOM_STEP_BYTES = 64 * 1024 * 1024

export function createLimits({ spool, tarballs, alwaysAllowedBytes = ALWAYS_ALLOWED_BYTES }: { spool: Pick<Spool, 'assertRoom'>; tarballs: Pick<TarballStore, 'freeSpace'>; alwaysAllowedBytes?: number }): Limits {
  let received = 0
  let inflated = 0
  let spooled = 0
  let roomUpTo = 0

  function assertRatio(plain: number): void {
    const limit = Math.max(alwaysAllowedBytes, MAX_RATIO * received)
    if (plain > limit) throw refused(`${formatSize(received)} of it grow to more than ${formatSize(limit)} when decompressed, which no real image does`)
  }

  return {
    async *received(source) {
      for await (const chunk of source) {
        received += chunk.length
        yield chunk
      }
    },
    async *inflated(source) {
      for await (const chunk of source) {
        inflated += chunk.length
        assertRatio(inflated)
        yield chunk
      }
    },
    async spooled(bytes) {
      spooled += bytes
      assertRatio(spooled)
      if (spooled <= roomUpTo) return
      roomUpTo = spooled + ROOM_STEP_BYTES
      await spool.assertRoom(2 * ROOM_STEP_BYTES)
      await assertStorageRoom(tarballs, spooled)
    },
  }
}
