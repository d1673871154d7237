import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { createId } from '#core/ids.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createEnvironmentServices, type EnvironmentServices } from '#test/support/environments.ts'
import { engineMissing, socketPath, testEngine } from '#test/support/engine.ts'
import { ensureBusybox } from '#test/support/images.ts'

const isRoot = process.getuid?.() === 0
if (!isRoot) console.log('packaging on a full disk is skipped: only root can mount a small file system')

describe.skipIf(engineMissing || !isRoot)('a disk that is too small for packaging', () => {
  const engine = testEngine()
  const name = `space-test-${createId().slice(-8)}`
  let directory: string
  let database: Kysely<Tables>
  let services: EnvironmentServices
  let small: string | undefined

  beforeAll(async () => {
    await ensureBusybox(socketPath)
  })
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-space-'))
    for (const part of ['tarballs', 'state', 'spool']) mkdirSync(join(directory, part))
    database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  })
  afterEach(async () => {
    await database.destroy()
    await engine.removeContainer(name)
    if (small !== undefined) spawnSync('umount', [join(directory, small)])
    rmSync(directory, { recursive: true })
  })

  async function start(part: 'tarballs' | 'state'): Promise<void> {
    small = part
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'hakuriver-test', join(directory, part)], { encoding: 'utf8' })
    expect(status, stderr).toBe(0)
    const tarballs = createFileSystemStore({ directory: join(directory, 'tarballs'), ownerId: 'me' })
    services = await createEnvironmentServices({ engine, database, tarballs, stateDirectory: join(directory, 'state'), keepVersions: 1 })
    expect((await end(services.containers.create(createContainerBody.parse({ name, image: 'busybox:latest' })))).error).toBeNull()
    expect((await pack()).error).toBeNull()
  }
  const end = async (started: Promise<Operation>) => services.operations.get((await started).id, 60)
  const pack = () => end(services.packaging.start(name, createVersionBody.parse({})))
  const files = () => readdirSync(join(directory, 'tarballs')).toSorted()
  async function run(script: string): Promise<void> {
    const { stream } = await engine.exec(name, { command: ['/bin/sh', '-c', script], tty: false })
    for await (const _ of stream.resume()) continue
  }

  it.each(['tarballs', 'state'] as const)('(%s) is told with the numbers, the version before stays, and it works once there is room', async (part) => {
    await start(part)
    const before = files()
    await run('head -c 60000000 /dev/urandom > /large')
    const { state, error } = await pack()
    expect(state).toBe('failed')
    expect(error).toMatchObject({ code: 'storage.full', detail: expect.stringMatching(/free.*Make room|needed.*Make room/s) })
    expect(files()).toEqual(before)
    expect(readdirSync(join(directory, 'state', 'spool'))).toEqual([])
    expect((await engine.inspectContainer(name))?.status).toBe('running')
    await run('rm /large')
    expect(await pack()).toMatchObject({ state: 'succeeded' })
  })

  it('that others fill meanwhile is no different', async () => {
    await start('tarballs')
    const before = files()
    writeFileSync(join(directory, 'tarballs', 'foreign'), Buffer.alloc(30_000_000))
    await run('head -c 25000000 /dev/urandom > /large')
    expect(await pack()).toMatchObject({ state: 'failed', error: { code: 'storage.full' } })
    expect(files()).toEqual([...before, 'foreign'].toSorted())
  })
})
