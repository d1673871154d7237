import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { TarballStore } from '#core/tarballs/store.ts'
import { openArchive } from './archive.ts'
import type { Versions } from './versions.ts'

/** Versions as archives for anybody's Engine. */
export interface Exports {
  /**
   * Streams a version; it is not removed meanwhile. A layer that is not what the manifest says fails the stream. A tarball
   * of other tools is handed out as it is.
   *
   * @throws `environment.no_version`, `tarball.not_found`, `tarball.damaged`
   */
  open(environment: string, version: number): Promise<Readable>
}

export function createExports({ tarballs, versions }: { tarballs: TarballStore; versions: Pick<Versions, 'use'> }): Exports {
  return {
    open: (environment, version) =>
      new Promise((resolve, reject) => {
        const holding = versions.use(environment, version, async () => {
          const manifest = await tarballs.readManifest(environment, version)
          const archive = manifest ? openArchive(tarballs, manifest) : await tarballs.read(environment, version)
          resolve(archive)
          await finished(archive)
        })
        // Once it streams, whoever reads hears of a failure.
        holding.catch(reject)
      }),
  }
}
