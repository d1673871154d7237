import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { TarballStore } from '#core/tarballs/store.ts'
import { openArchive } from './archive.ts'
import type { VersionMarks } from './marks.ts'
import { markingDamage } from './verify.ts'
import type { Versions } from './versions.ts'

/** Versions as archives for anybody's Engine. */
export interface Exports {
  /**
   * Streams a version; it is not removed meanwhile. A layer that is not what the manifest says fails the stream. A tarball
   * of other tools is handed out as it is. One that is found damaged is marked.
   *
   * @throws `environment.no_version`, `tarball.not_found`, `tarball.damaged`
   */
  open(environment: string, version: number): Promise<Readable>
}

export function createExports({ tarballs, versions, marks }: { tarballs: TarballStore; versions: Pick<Versions, 'use'>; marks: Pick<VersionMarks, 'set'> }): Exports {
  return {
    open: (environment, version) =>
      new Promise((resolve, reject) => {
        const holding = versions.use(environment, version, async () => {
          const manifest = await tarballs.readManifest(environment, version)
          const archive = manifest ? openArchive(tarballs, manifest) : await tarballs.read(environment, version)
          resolve(archive)
          await markingDamage(marks, { environment, version }, () => finished(archive))
        })
        // Once it streams, whoever reads hears of a failure.
        holding.catch(reject)
      }),
  }
}
