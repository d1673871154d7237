import { HakuError } from '#core/errors.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { formatSize } from '#core/tasks/sizes.ts'

/** Documents, headers, the manifest. */
const DOCUMENT_BYTES = 1024 * 1024

/** Throws `storage.full` unless the shared storage has room for a version with so many bytes of new layers. */
export async function assertStorageRoom(tarballs: Pick<TarballStore, 'freeSpace'>, layerBytes: number): Promise<void> {
  const [needed, free] = [layerBytes + DOCUMENT_BYTES, await tarballs.freeSpace()]
  if (free !== undefined && free < needed) throw new HakuError('storage.full', `The shared storage has ${formatSize(free)} free, and the new version needs ${formatSize(needed)}. Make room and try again; nothing of what was there has changed.`)
}
