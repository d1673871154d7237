import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { demultiplex } from '#core/engine/demultiplex.ts'
import type { Engine } from '#core/engine/engine.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { type AllReleases, RELEASES, startAllReleases } from '#test/engines/all-releases.ts'
import { whyNoEngines } from '#test/engines/engine.ts'
import type { Release } from '#test/engines/releases.ts'
import { createEnvironmentServices } from '#test/support/environments.ts'

const missing = whyNoEngines()
if (missing) console.log(`loading on Engines of several releases is skipped: ${missing}`)

describe.skipIf(missing)('a tarball', () => {
  let releases: AllReleases
  let directory: string
  let database: Kysely<Tables>
  let store: TarballStore

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-releases-'))
    database = await openDatabase<Tables>(join(directory, 'state', 'host.db'), migrations)
    store = createFileSystemStore({ directory, ownerId: 'me' })
    releases = await startAllReleases()
  }, 300_000)
  afterAll(async () => {
    await releases?.stop()
    await database.destroy()
    rmSync(directory, { recursive: true })
  }, 120_000)

  /** Packages what `release` has in a container that says where it was made. */
  async function packageOn(release: Release, name: string): Promise<number> {
    const engine = releases.engineOf(release)
    const { operations, containers, packaging } = await createEnvironmentServices({ engine, database, tarballs: store, stateDirectory: join(directory, 'state') })
    const end = async (started: Promise<Operation>) => operations.get((await started).id, 60)
    const created = await end(containers.create(createContainerBody.parse({ name, image: 'busybox:latest' })))
    expect(created.error).toBeNull()
    const { stream } = await engine.exec(name, { command: ['sh', '-c', `echo made on ${release} > /proof; rm /bin/vi; ln -s /proof /link`], tty: false })
    for await (const _ of stream.resume()) continue
    const packaged = await end(packaging.start(name, createVersionBody.parse({ note: '' })))
    expect(packaged.error).toBeNull()
    return (packaged.result as { version: number }).version
  }

  async function output(engine: Engine, image: string, command: string[]): Promise<string> {
    const id = await engine.createContainer({ name: 'proof', image, command, env: {}, labels: {}, mounts: [], network: 'host', logs: 'lossless' })
    let text = ''
    const stream = await engine.attachOutput(id)
    await engine.startContainer(id)
    for await (const { bytes } of demultiplex(stream)) text += String(bytes)
    await engine.removeContainer(id)
    return text
  }

  it.for<Release>([...RELEASES])('packaged on %s loads on all the others by plain docker load, and runs', { timeout: 120_000 }, async (source, { skip }) => {
    if (!releases.running.includes(source)) return skip(releases.whyAbsent(source))
    const name = `from-${source}`
    const version = await packageOn(source, name)
    for (const release of releases.running) {
      const engine = releases.engineOf(release)
      expect(await engine.loadImage(await store.read(name, version)), release).toEqual([`hakuriver/${name}:base`])
      const manifest = await store.readManifest(name, version)
      const image = await engine.inspectImage(`hakuriver/${name}:base`)
      expect([manifest?.configDigest, manifest?.manifestDigest], release).toContain(image?.id)
      expect(await output(engine, image?.id ?? '', ['sh', '-c', 'cat /link; ls /bin/vi 2>&1']), release).toMatch(new RegExp(`^made on ${source}\n.*No such file`))
    }
  })
})
