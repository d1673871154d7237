import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation, type Version } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import type { TarballStore } from '#core/tarballs/store.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { type AllReleases, RELEASES, startAllReleases } from '#test/engines/all-releases.ts'
import { whyNoEngines } from '#test/engines/engine.ts'
import type { Release } from '#test/engines/releases.ts'
import { createEnvironmentServices } from '#test/support/environments.ts'
import { exportedFileSystem, fileSystemAt, pidOf } from '#test/support/file-system.ts'
import { createRandom } from '#simulator/random.ts'
import { mutateTree, plantSpecials } from '#test/support/seeded-tree.ts'

const missing = whyNoEngines()
if (missing) console.log(`comparing file systems on Engines of several releases is skipped: ${missing}`)

const VERSIONS = 4

describe.skipIf(missing)('the file system of a node', () => {
  let releases: AllReleases
  let directory: string
  let database: Kysely<Tables>
  let store: TarballStore

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-same-'))
    mkdirSync(join(directory, 'tarballs'))
    database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
    store = createFileSystemStore({ directory: join(directory, 'tarballs'), ownerId: 'me' })
    releases = await startAllReleases()
  }, 300_000)
  afterAll(async () => {
    await releases?.stop()
    await database.destroy()
    rmSync(directory, { recursive: true })
  }, 120_000)

  const rootOf = async (release: Release, container: string) => `/proc/${await pidOf(releases.socketOf(release), container)}/root`

  /** A base image that has a tree of its own, so that the changes are in a layer above others. */
  async function createBase(release: Release, seed: number): Promise<string> {
    const engine = releases.engineOf(release)
    const id = await engine.createContainer({ name: `base-${seed}`, image: 'busybox:latest', command: ['sleep', '1000'], env: {}, labels: {}, mounts: [], logs: 'none', network: 'none' })
    await engine.startContainer(id)
    const tree = `${await rootOf(release, id)}/tree`
    mkdirSync(tree)
    mutateTree(tree, createRandom(seed), 80)
    await engine.stopContainer(id, 1)
    await engine.commitContainer(id, { repository: 'seeded', tag: String(seed), author: '', comment: '' })
    await engine.removeContainer(id)
    return `seeded:${seed}`
  }

  /** Loads a version on another Engine, and compares every entry with the container that it was made from. */
  async function expectSame(source: Release, target: Release, { environment, fileName, version }: Version): Promise<void> {
    const engine = releases.engineOf(target)
    const [reference = ''] = await engine.loadImage(await store.read(environment, version))
    const id = await engine.createContainer({ name: `${environment}-node`, image: reference, command: ['sleep', '1000'], env: {}, labels: {}, mounts: [], logs: 'none', network: 'none' })
    try {
      await engine.startContainer(id)
      const what = `${fileName} on ${target}`
      // Of the containerd store there is no writable layer to be read.
      const precision = source === '28-containerd' ? 'committed' : 'all'
      expectEqual(await fileSystemAt(`${await rootOf(target, id)}/tree`, precision), await fileSystemAt(`${await rootOf(source, environment)}/tree`, precision), `${what}, by its files`)
      expectEqual(await exportedFileSystem(releases.socketOf(target), id), await exportedFileSystem(releases.socketOf(source), environment), `${what}, by export`)
    } finally {
      await engine.removeContainer(id)
      await engine.removeImage(reference)
    }
  }

  function expectEqual(found: Map<string, string>, wanted: Map<string, string>, what: string): void {
    expect(wanted.size, what).toBeGreaterThan(20)
    const different = [...new Set([...found.keys(), ...wanted.keys()])].filter((path) => found.get(path) !== wanted.get(path))
    const shown = different.slice(0, 5).map((path) => ({ path, found: found.get(path), wanted: wanted.get(path) }))
    expect({ different: different.length, shown }, what).toEqual({ different: 0, shown: [] })
  }

  it.for<Release>([...RELEASES])('is the one of the container on %s, over several versions of a seeded tree', { timeout: 300_000 }, async (source, { skip }) => {
    if (!releases.running.includes(source)) return skip(releases.whyAbsent(source))
    const seed = 1 + RELEASES.indexOf(source)
    const name = `seeded-on-${source}`
    const image = await createBase(source, seed)
    const { operations, containers, packaging } = await createEnvironmentServices({ engine: releases.engineOf(source), database, tarballs: store, stateDirectory: join(directory, source), keepVersions: 100 })
    const end = async (started: Promise<Operation>) => {
      const { error, result } = await operations.get((await started).id, 60)
      expect(error).toBeNull()
      return result
    }
    await end(containers.create(createContainerBody.parse({ name, image })))
    const random = createRandom(seed * 1000)
    const targets = releases.running
    for (let round = 0; round < VERSIONS; round += 1) {
      const tree = `${await rootOf(source, name)}/tree`
      plantSpecials(tree, random)
      mutateTree(tree, random, 60)
      const version = (await end(packaging.start(name, createVersionBody.parse({})))) as Version
      const isLast = round === VERSIONS - 1
      for (const [index, target] of targets.entries()) if (isLast || index === round % targets.length) await expectSame(source, target, version)
    }
  })
})
