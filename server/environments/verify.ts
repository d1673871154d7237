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
export function verifyLayers(manifest: VersionManifest, layers: readonly VersionLayer[], options: VerifyOptions): Promise<void> {
  return markingDamage(options.marks, manifest, () => checkLayers(manifest, layers, options))
}

/** The same, and marks nothing. @throws `tarball.damaged` */
export async function checkLayers(manifest: VersionManifest, layers: readonly VersionLayer[], { tarballs, signal, onProgress }: Omit<VerifyOptions, 'marks'>): Promise<void> {
  for await (const chunk of openArchive(tarballs, manifest, { layers, ...(onProgress && { onProgress }) })) {
    void chunk
    signal.throwIfAborted()
  }
}

/** Marks the version if `work`, which reads it, finds that it is damaged: the Host has read it, so that is sure. */
export async function markingDamage<T>(marks: Pick<VersionMarks, 'set'>, { environment, version }: { environment: string; version: number }, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isHakuError(error, 'tarball.damaged')) await marks.set(environment, version, { damage: error.message, suspectedBy: null })
    throw error
  }
}

/** Bytes of layers, each counted once. */
export function bytesOf(layers: readonly VersionLayer[]): number {
  return [...new Map(layers.map(({ digest, size }) => [digest, size])).values()].reduce((sum, size) => sum + size, 0)
}
