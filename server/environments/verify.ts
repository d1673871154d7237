import { isHakuError } from '#core/errors.ts'
import type { VersionLayer, VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { openArchive } from './archive.ts'
import type { VersionMarks } from './marks.ts'

export interface VerifyOptions {
  tarballs: TarballStore
  marks: VersionMarks
  signal: AbortSignal
  onProgress?: (bytes: number) => void
}

/**
 * Reads layers of a version from the storage and compares their digests. One that is damaged is marked, so that nobody is given the version and
 * nothing is built on it.
 *
 * @throws `tarball.damaged`
 */
export async function verifyLayers(manifest: VersionManifest, layers: readonly VersionLayer[], { tarballs, marks, signal, onProgress }: VerifyOptions): Promise<void> {
  const archive = openArchive(tarballs, manifest, { layers, ...(onProgress && { onProgress }) })
  try {
    for await (const chunk of archive) {
      void chunk
      signal.throwIfAborted()
    }
  } catch (error) {
    if (isHakuError(error, 'tarball.damaged')) await marks.set(manifest.environment, manifest.version, { damage: error.message })
    throw error
  }
}

/** Bytes of layers, each counted once. */
export function bytesOf(layers: readonly VersionLayer[]): number {
  return [...new Map(layers.map(({ digest, size }) => [digest, size])).values()].reduce((sum, size) => sum + size, 0)
}
