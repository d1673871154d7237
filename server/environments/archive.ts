import type { Readable } from 'node:stream'
import { HakuError } from '#core/errors.ts'
import { tarballFileName } from '#core/paths.ts'
import { type LoadableOptions, openLoadable } from '#core/tarballs/loadable.ts'
import type { VersionLayer, VersionManifest } from '#core/tarballs/manifest.ts'
import type { TarballStore } from '#core/tarballs/store.ts'

/** The manifest of a version, for what can not be done without. @throws `version.without_manifest`, `tarball.not_found`, `tarball.damaged` */
export async function manifestOf(tarballs: TarballStore, environment: string, version: number): Promise<VersionManifest> {
  const manifest = await tarballs.readManifest(environment, version)
  if (manifest) return manifest
  const fileName = tarballFileName(environment, version)
  throw new HakuError('version.without_manifest', `${fileName} has no manifest: it was made by other tools. Tasks can run in it, but for this import it first: hakuriver env import ${fileName} --name ${environment}`)
}

/** The plain tar of one layer. */
export function readLayer(tarballs: TarballStore, { environment, version }: VersionManifest, { offset, size }: VersionLayer): Promise<Readable> {
  return tarballs.read(environment, version, { start: offset, end: offset + size })
}

/** The version as an Engine loads it, or the part with some `layers` of it, each layer checked on the way; see `core/tarballs/loadable`. */
export function openArchive(tarballs: TarballStore, manifest: VersionManifest, options: Pick<LoadableOptions, 'tag' | 'onProgress'> & { layers?: readonly VersionLayer[] } = {}): Readable {
  const { environment, version, size } = manifest
  const entry = { environment, version, size, fileName: tarballFileName(environment, version) }
  return openLoadable({ entry, manifest, layers: manifest.layers, read: (layer) => readLayer(tarballs, manifest, layer), ...options })
}
