import type { VersionOrder } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballEntry } from '#core/tarballs/store.ts'
import { createBackoff } from '../backoff.ts'
import type { PatienceOptions, ReadableStore } from './patient-store.ts'

export interface OpenedVersion {
  entry: TarballEntry
  /** `undefined` for a tarball made by other tools. */
  manifest: VersionManifest | undefined
}

/** About as long as an NFS client may believe that a file it has just missed is still not there. */
const LOOKS = 6

/**
 * Finds a version by its exact name. The Host has seen it, so a node that does not looks again for some seconds: an NFS client remembers
 * for a while that a name was not there.
 *
 * @throws `tarball.not_found`, `tarball.damaged`, `storage.unavailable`
 */
export async function openVersion(store: ReadableStore, order: VersionOrder, { signal, onTrouble }: PatienceOptions): Promise<OpenedVersion> {
  const backoff = createBackoff({ firstMs: 200, maxMs: 2000 })
  for (let look = 1; ; look += 1) {
    const opened = await lookOnce(store, order)
    // The digest was in the manifest that the Host read, so there was one.
    if (opened && (opened.manifest || order.configDigest === null)) return opened
    if (look === LOOKS) {
      // Loaded whole, it is still checked against that digest.
      if (opened) return opened
      throw new HakuError('tarball.not_found', `${order.fileName} is not on the shared storage as this node sees it. Was it removed? Package the environment again, and check that Host and node mount the same directory.`)
    }
    onTrouble(`${order.fileName} is not to be seen on this node yet. It is looked for again for some seconds.`)
    await backoff.wait(signal)
    // Reading the directory makes the client ask the server what is in it now.
    await store.listVersions(order.environment)
  }
}

// --- internal ---

async function lookOnce(store: ReadableStore, { environment, version }: VersionOrder): Promise<OpenedVersion | undefined> {
  const entry = await store.find(environment, version)
  return entry && { entry, manifest: await store.readManifest(environment, version) }
}
