import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { configSchema } from '#core/config/schema.ts'
import { sharedPaths } from '#core/paths.ts'
import { assembleTarball } from '#core/tarballs/assemble.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { END_OF_ARCHIVE } from '#core/tarballs/tar/entry.ts'

/** What simulated tasks run in. */
export const ENVIRONMENT = 'simulated'

/** Puts a sound version of it on the shared storage of a Host that uses the default directory of tarballs. */
export async function publishEnvironment(sharedDir: string): Promise<void> {
  const { tarballs: directory, mark } = sharedPaths(sharedDir, configSchema.parse({}).docker.container_dir)
  const tarballs = createFileSystemStore({ directory, ownerId: 'simulator', mark })
  const version = Math.floor(Date.now() / 1000)
  const writer = await tarballs.createWriter(ENVIRONMENT, version)
  const layer = { digest: `sha256:${createHash('sha256').update(END_OF_ARCHIVE).digest('hex')}`, size: END_OF_ARCHIVE.length, open: () => Readable.from([END_OF_ARCHIVE], { objectMode: false }) }
  const image = { environment: ENVIRONMENT, version, author: '', created: new Date(version * 1000).toISOString(), architecture: 'amd64', os: 'linux', env: [], baseConfig: {} }
  await writer.publish(await assembleTarball({ writer, reused: [], added: [layer], baseLayers: 1, baseImage: 'none', note: '', image }))
}
