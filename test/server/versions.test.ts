import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { diffQuery, type Operation, rollbackBody } from '#core/api/schemas.ts'
import { createId } from '#core/ids.ts'
import type { VersionManifest } from '#core/tarballs/manifest.ts'
import type { OperationContext } from '#server/operations/operations.ts'
import { layerOf, publishVersion } from '#test/support/versions.ts'
import { createHostServices, type HostServices } from './support/host-services.ts'

let directory: string
let host: HostServices
let first: VersionManifest
let second: VersionManifest

const base = layerOf({ 'bin/': '', 'bin/sh': 'a shell' })

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-versions-'))
  host = await createHostServices(directory)
  first = await publishVersion(host.tarballs, { environment: 'my-env', version: 10, layers: [base, layerOf({ one: '1' })], note: 'the first' })
  second = await publishVersion(host.tarballs, { environment: 'my-env', version: 20, layers: [layerOf({ two: '2' })], onTopOf: first })
  await publishVersion(host.tarballs, { environment: 'my-env-gpu', version: 10, layers: [base] })
})
afterEach(async () => {
  expect(await versionsOf('my-env-gpu')).toEqual([10])
  await host.close()
  expect(readdirSync(host.paths.tarballs).filter((file) => file.startsWith('.tmp'))).toEqual([])
  rmSync(directory, { recursive: true })
})

const versionsOf = async (environment = 'my-env') => (await host.tarballs.listVersions(environment)).map(({ version }) => version)
const currentOf = async () => {
  const { latest, older } = await host.versions.get('my-env')
  return [latest, ...older].filter(({ current }) => current).map(({ version }) => version)
}
const refusal = (code: string, message?: string | RegExp) => expect.objectContaining({ code, ...(message !== undefined && { message: expect.stringMatching(message) }) })

/** Changes one byte of the topmost layer. */
async function damage({ environment, version, layers }: VersionManifest): Promise<void> {
  const handle = await open(join(host.paths.tarballs, `${environment}-${version}.tar`), 'r+')
  await handle.write(Buffer.from('!'), 0, 1, (layers.at(-1)?.offset ?? 0) + 512)
  await handle.close()
}

describe('versions', () => {
  it('tell what is known of each', async () => {
    await host.register('a')
    await host.nodes.heartbeat('a', { instanceId: 'a', usage: { cpuPercent: 1, memoryUsedBytes: 1 }, engine: null, tasks: [], holdings: { images: [{ environment: 'my-env', version: 10 }], layers: [] } })
    const task = await host.submit('my-env', 10)
    await host.marks.set('my-env', 10, { isPinned: true })
    const { latest, older } = await host.versions.get('my-env')
    expect(latest).toMatchObject({ version: 20, created: '1970-01-01T00:00:20.000Z', author: 'me', note: '', current: true, pinned: false, candidate: false, damage: null, nodes: [], tasks: [], newBytes: 2048, restores: null })
    expect(older).toEqual([expect.objectContaining({ version: 10, note: 'the first', current: false, pinned: true, nodes: ['a'], tasks: [task.id], newBytes: base.length + 2048 })])
    expect(await host.versions.details('my-env', 20)).toMatchObject({ architecture: 'amd64', layers: [{ isBase: true, size: base.length }, { isBase: false }, { isBase: false }] })
    await expect(host.versions.details('my-env', 11)).rejects.toThrow(refusal('tarball.not_found', /has no version 11. There are 20, 10/))
  })

  it('are given by number, or the newest that is neither damaged nor being tested', async () => {
    expect(await host.submit('my-env')).toMatchObject({ version: 20 })
    expect(await host.submit('my-env', 10)).toMatchObject({ version: 10 })
    await expect(host.submit('my-env', 11)).rejects.toThrow(refusal('tarball.not_found'))
    await host.marks.set('my-env', 20, { isCandidate: true })
    expect([await currentOf(), (await host.submit('my-env')).version, (await host.submit('my-env', 20)).version]).toEqual([[10], 10, 20])
    await host.marks.set('my-env', 20, { isCandidate: false, damage: 'a node found it torn.' })
    expect([await currentOf(), (await host.submit('my-env')).version]).toEqual([[10], 10])
    await expect(host.submit('my-env', 20)).rejects.toThrow(refusal('tarball.damaged', /a node found it torn/))
    await host.marks.set('my-env', 10, { damage: 'so is this.' })
    await expect(host.submit('my-env')).rejects.toThrow(refusal('tarball.damaged', 'env log my-env'))
    await expect(host.submit('my-en')).rejects.toThrow(refusal('environment.no_version'))
  })

  it('are none that no number stands for, and grow to the highest and no further', async () => {
    const strangers = ['my-env-999999999999999.tar', 'my-env-1000000000000.tar', 'my-env-0030.tar']
    for (const file of strangers) writeFileSync(join(host.paths.tarballs, file), 'x')
    expect((await host.versions.list()).map(({ name, latest }) => [name, latest.version])).toEqual([['my-env', 20], ['my-env-gpu', 10]])
    expect(await host.versions.next('my-env')).toBeLessThan(10_000_000_000)
    writeFileSync(join(host.paths.tarballs, 'my-env-999999999998.tar'), 'x')
    expect((await host.versions.get('my-env')).latest).toMatchObject({ version: 999_999_999_998, created: '9999-12-31T23:59:59.000Z' })
    expect(await host.versions.next('my-env')).toBe(999_999_999_999)
    writeFileSync(join(host.paths.tarballs, 'my-env-999999999999.tar'), 'x')
    await expect(host.versions.next('my-env')).rejects.toThrow(refusal('version.no_number_left', /my-env-999999999999\.tar has the highest number/))
    await host.deletions.execute('my-env', { versions: [999_999_999_999, 999_999_999_998], force: false })
    expect(readdirSync(host.paths.tarballs)).toEqual(expect.arrayContaining(strangers))
  })

  it.each<[string, (tarballs: string) => void]>([
    ['a manifest that is no JSON', (tarballs) => writeFileSync(join(tarballs, 'my-env-20.json'), '{')],
    ['a manifest with a flipped byte', (tarballs) => writeFileSync(join(tarballs, 'my-env-20.json'), readFileSync(join(tarballs, 'my-env-20.json'), 'utf8').replace('"configDigest": "sha256', '"configDigest": "sha25v'))],
    ['a tarball that was cut', (tarballs) => truncateSync(join(tarballs, 'my-env-20.tar'), 2000)],
  ])('with %s are damaged, and the one before is current', async (_, spoil) => {
    spoil(host.paths.tarballs)
    const spoilt = { version: 20, current: false, damage: expect.stringContaining('my-env-20'), newBytes: null }
    expect(await host.versions.get('my-env')).toMatchObject({ latest: spoilt, older: [{ version: 10, current: true, damage: null }] })
    expect([await host.versions.details('my-env', 20), await host.versions.details('my-env', 10)]).toMatchObject([spoilt, { version: 10, current: true }])
    expect(await host.submit('my-env')).toMatchObject({ version: 10 })
    await expect(host.submit('my-env', 20)).rejects.toThrow(refusal('tarball.damaged', /my-env-20.*env log my-env/))
    await host.deletions.execute('my-env', { versions: [10], force: true })
    await expect(host.submit('my-env')).rejects.toThrow(refusal('tarball.damaged', /my-env-20.*env log my-env/))
  })

  it('that are damaged take the place of no sound one when it comes to pruning, and go with what is superseded', async () => {
    for (const version of [30, 40, 50]) await publishVersion(host.tarballs, { environment: 'my-env', version, layers: [base] })
    await host.marks.set('my-env', 50, { damage: 'a node found it torn.' })
    writeFileSync(join(host.paths.tarballs, 'my-env-40.json'), '{')
    await host.marks.set('my-env', 10, { damage: 'so is this.' })
    await host.versions.prune('my-env', 2)
    expect(await versionsOf()).toEqual([50, 40, 30, 20])
    await host.versions.prune('my-env', 1)
    expect(await versionsOf()).toEqual([50, 40, 30])
    expect(await host.submit('my-env')).toMatchObject({ version: 30 })
  })

  it('that are pinned, being read or promised to a task are not pruned', async () => {
    await publishVersion(host.tarballs, { environment: 'my-env', version: 30, layers: [base] })
    await publishVersion(host.tarballs, { environment: 'my-env', version: 40, layers: [base] })
    await host.versions.setPinned('my-env', 10, true)
    await host.submit('my-env', 20)
    await host.versions.use('my-env', 30, () => host.versions.prune('my-env'))
    expect(await versionsOf()).toEqual([40, 30, 20, 10])
    await host.versions.prune('my-env', 2)
    expect(await versionsOf()).toEqual([40, 30, 20, 10])
    await host.versions.prune('my-env')
    expect(await versionsOf()).toEqual([40, 20, 10])
    await host.versions.setPinned('my-env', 10, false)
    await host.versions.prune('my-env')
    expect(await versionsOf()).toEqual([40, 20])
    await expect(host.versions.setPinned('my-env', 10, true)).rejects.toThrow(refusal('tarball.not_found'))
  })
})

describe('rolling back', () => {
  const rollBack = async (version: number, more: object = {}): Promise<Operation> => host.operations.get((await host.rollbacks.start('my-env', rollbackBody.parse({ version, ...more }))).id, 30)

  it('makes a new version over the same layers, and removes nothing', async () => {
    const { state, result } = await rollBack(10, { note: 'two was wrong', author: 'you' })
    expect({ state, result }).toMatchObject({ state: 'succeeded', result: { note: 'two was wrong', author: 'you', restores: 10, newBytes: 0, current: true, baseImage: 'busybox:latest' } })
    const [newest = 0, ...others] = await versionsOf()
    expect(others).toEqual([20, 10])
    expect(newest).toBeGreaterThan(1_700_000_000)
    const manifest = await host.tarballs.readManifest('my-env', newest)
    expect(manifest).toMatchObject({ layers: first.layers, baseLayers: 1, restores: 10 })
    expect(JSON.parse(manifest?.config ?? '')).toMatchObject({ config: { Env: ['A=1'], Cmd: ['sh'], Labels: { 'hakuriver.version': String(newest) } } })
    // Whole, as any other.
    await buffer(await host.exports.open('my-env', newest))
    await expect(rollBack(10)).rejects.toThrow(refusal('version.is_current', 'by a rollback'))
    expect((await rollBack(20)).state).toBe('succeeded')
  })

  it.each<[string, number, string, () => Promise<void>]>([
    ['the current version', 20, 'version.is_current', () => Promise.resolve()],
    ['one that does not exist', 15, 'tarball.not_found', () => Promise.resolve()],
    ['one that is marked as damaged', 10, 'tarball.damaged', () => host.marks.set('my-env', 10, { damage: 'torn.' })],
    ['one that is being tested', 20, 'environment.busy', () => host.marks.set('my-env', 20, { isCandidate: true })],
    ['one that other tools made', 30, 'version.without_manifest', async () => {
      await writeFile(join(host.paths.tarballs, 'my-env-30.tar'), 'x')
      await publishVersion(host.tarballs, { environment: 'my-env', version: 40, layers: [base] })
    }],
  ])('to %s is refused', async (_, version, code, prepare) => {
    await prepare()
    const before = await versionsOf()
    await expect(rollBack(version)).rejects.toThrow(refusal(code))
    expect(await versionsOf()).toEqual(before)
  })

  it('to one that turns out to be damaged fails, and marks it', async () => {
    await damage(first)
    expect(await rollBack(10)).toMatchObject({ state: 'failed', error: { code: 'tarball.damaged' } })
    expect(await versionsOf()).toEqual([20, 10])
    expect(await host.versions.describe('my-env', 10)).toMatchObject({ damage: expect.stringContaining('my-env-10.tar is damaged') })
  })
})

describe('deleting', () => {
  const remove = (versions: number[], force = false) => host.deletions.execute('my-env', { versions, force })

  it('plans, and then deletes what was planned, of this very name', async () => {
    const plan = await host.deletions.plan('my-env')
    expect(plan).toMatchObject({ environment: 'my-env', versions: [{ version: 20, current: true }, { version: 10 }], obstacles: [], bytes: first.size + second.size })
    expect(await versionsOf()).toEqual([20, 10])
    expect(await host.deletions.plan('my-env', 10)).toMatchObject({ versions: [{ version: 10 }], bytes: first.size })
    expect(await remove([20, 10])).toEqual({ environment: 'my-env', deleted: [20, 10], failedTasks: [], bytes: first.size + second.size })
    expect(readdirSync(host.paths.tarballs).sort()).toEqual(['my-env-gpu-10.json', 'my-env-gpu-10.tar'])
    await expect(host.deletions.plan('my-env')).rejects.toThrow(refusal('environment.no_version'))
  })

  it('leaves the one before as the current one', async () => {
    await remove([20])
    expect([await versionsOf(), await currentOf()]).toEqual([[10], [10]])
    await expect(remove([20])).rejects.toThrow(refusal('tarball.not_found'))
  })

  it('keeps all if one is pinned, unless forced', async () => {
    await host.versions.setPinned('my-env', 10, true)
    expect((await host.deletions.plan('my-env')).obstacles).toEqual([{ version: 10, kind: 'pinned', task: null, forcible: true }])
    await expect(remove([20, 10])).rejects.toThrow(refusal('version.needed', /my-env-10\.tar is pinned.*--force/))
    expect(await versionsOf()).toEqual([20, 10])
    await remove([20, 10], true)
    expect(await versionsOf()).toEqual([])
    // A new version of that number would not be pinned.
    expect(host.marks.get('my-env', 10)).toMatchObject({ isPinned: false })
  })

  it('fails the queued tasks that need it, but only if forced', async () => {
    const { id } = await host.submit('my-env')
    await expect(remove([20])).rejects.toThrow(refusal('version.needed', new RegExp(`my-env-20\\.tar is needed by the queued task ${id}`)))
    expect(await host.tasks.get(id)).toMatchObject({ state: 'queued' })
    expect(await remove([20], true)).toMatchObject({ deleted: [20], failedTasks: [id] })
    expect(await host.tasks.get(id)).toMatchObject({ state: 'failed', reason: 'user', message: expect.stringContaining('my-env-20.tar was deleted by force') })
  })

  it('never takes from a node what it was given', async () => {
    await host.register('a')
    const { id } = await host.submit('my-env')
    await host.node.ordered(id)
    for (const force of [false, true]) await expect(remove([20, 10], force)).rejects.toThrow(refusal('version.needed', new RegExp(`needed by the task ${id}`)))
    expect(await versionsOf()).toEqual([20, 10])
    await host.tasks.report('a', 'a', [host.node.report(id, { state: 'succeeded', exitCode: 0 })])
    expect(await remove([20])).toMatchObject({ deleted: [20] })
  })

  it('waits for nobody who reads it, or works on the environment', async () => {
    await host.versions.use('my-env', 20, async () => {
      await expect(remove([20])).rejects.toThrow(refusal('environment.busy', 'being read'))
    })
    await host.operations.exclusively('my-env', async () => {
      await expect(remove([20])).rejects.toThrow(refusal('environment.busy'))
    })
    expect(await versionsOf()).toEqual([20, 10])
  })

  it('never takes a version from a task that is submitted at this moment', async () => {
    for (let round = 0; round < 20; round++) {
      await publishVersion(host.tarballs, { environment: 'my-env', version: 100 + round, layers: [base] })
      const [task, deletion] = await Promise.allSettled([host.submit('my-env', 100 + round), remove([100 + round])])
      const isThere = (await versionsOf()).includes(100 + round)
      expect({ submitted: task.status, deleted: deletion.status, isThere }).toEqual(isThere ? { submitted: 'fulfilled', deleted: 'rejected', isThere } : { submitted: 'rejected', deleted: 'fulfilled', isThere })
    }
  })
})

describe('comparing', () => {
  it('marks a version that it finds damaged, in what it holds and in how it is held', async () => {
    const compare = () => host.diffs.compare('my-env', diffQuery.parse({ from: 10, to: 20 }), new AbortController().signal)
    await compare()
    await damage(second)
    await expect(compare()).rejects.toThrow(refusal('tarball.damaged', /my-env-20\.tar is damaged/))
    expect([host.marks.get('my-env', 10).damage, host.marks.get('my-env', 20).damage]).toEqual([null, expect.stringContaining('my-env-20.tar is damaged')])
    await host.marks.set('my-env', 20, { damage: null })
    const handle = await open(join(host.paths.tarballs, 'my-env-20.tar'), 'r+')
    await handle.write(Buffer.from('!'), 0, 1, second.layers.at(-1)?.offset ?? 0)
    await handle.close()
    await expect(compare()).rejects.toThrow(refusal('tarball.damaged', /my-env-20\.tar is damaged: .*the checksum of a header is wrong/))
    expect(host.marks.get('my-env', 20).damage).toContain('my-env-20.tar is damaged')
  })
})

describe('exporting', () => {
  it('streams the very archive, and keeps the version meanwhile', async () => {
    const archive = await host.exports.open('my-env', 20)
    await expect(host.deletions.execute('my-env', { versions: [20], force: true })).rejects.toThrow(refusal('environment.busy'))
    expect(await buffer(archive)).toEqual(await buffer(await host.tarballs.read('my-env', 20)))
    expect(await host.deletions.execute('my-env', { versions: [20], force: false })).toMatchObject({ deleted: [20] })
  })

  it('breaks off where the tarball is damaged, and marks it', async () => {
    await damage(second)
    await expect(buffer(await host.exports.open('my-env', 20))).rejects.toThrow(refusal('tarball.damaged'))
    await expect.poll(currentOf).toEqual([10])
    expect(host.marks.get('my-env', 20).damage).toContain('my-env-20.tar is damaged')
  })

  it('hands out what other tools made as it is', async () => {
    writeFileSync(join(host.paths.tarballs, 'my-env-30.tar'), 'an archive')
    expect(String(await buffer(await host.exports.open('my-env', 30)))).toBe('an archive')
  })

  it.each([['my-env', 15, 'tarball.not_found'], ['my-en', 10, 'environment.no_version']])('of %s@%i is refused', async (environment, version, code) => {
    await expect(host.exports.open(environment, version)).rejects.toThrow(refusal(code))
  })
})

describe('a test of a new version', () => {
  let controller: AbortController
  let phases: string[]
  let context: OperationContext
  const trial = { environment: 'my-env', version: 30, test: 'import numpy' }

  beforeEach(() => {
    controller = new AbortController()
    phases = []
    context = { id: createId(), signal: controller.signal, report: ({ phase, message }) => (phases.push(`${phase} ${message}`), Promise.resolve()), setUndo: () => Promise.resolve() }
  })

  /** Publishes version 30 and begins its test. */
  async function begin(): Promise<{ ended: Promise<void>; id: string }> {
    await host.trials.announce(trial)
    await publishVersion(host.tarballs, { environment: 'my-env', version: 30, layers: [base] })
    const ended = host.trials.run(trial, context)
    ended.catch(() => undefined)
    await expect.poll(() => [...host.store.live.values()].filter(({ version }) => version === 30)).toHaveLength(1)
    return { ended, id: [...host.store.live.values()].find(({ version }) => version === 30)?.id ?? '' }
  }
  const report = (id: string, seen: Parameters<HostServices['node']['report']>[1]) => host.tasks.report('a', 'a', [host.node.report(id, seen)])

  it('runs in exactly that version, which nobody else is given meanwhile, and makes it current if it passes', async () => {
    await host.register('a')
    const { ended, id } = await begin()
    await host.node.ordered(id)
    expect(host.node.orders.get(id)).toMatchObject({ image: { version: 30, fileName: 'my-env-30.tar' }, command: ['/bin/sh', '-c', 'import numpy'] })
    expect([await currentOf(), (await host.submit('my-env')).version]).toEqual([[20], 20])
    await report(id, { state: 'succeeded', exitCode: 0 })
    await ended
    expect([await currentOf(), (await host.submit('my-env')).version]).toEqual([[30], 30])
  })

  it('removes the version if it fails, and says why with the last lines', async () => {
    await host.register('a')
    const { ended, id } = await begin()
    await host.node.ordered(id)
    writeFileSync(host.paths.stderr(id, 1), `${'noise\n'.repeat(5000)}Traceback:\nModuleNotFoundError: no numpy\n`)
    await report(id, { state: 'failed', reason: 'exited', exitCode: 3, stdoutBytes: 0 })
    await expect(ended).rejects.toThrow(refusal('version.test_failed', new RegExp(`test of my-env-30\\.tar failed: task ${id} ended with code 3[^]*task stderr ${id}[^]*noise\nTraceback:\nModuleNotFoundError: no numpy$`)))
    expect([await versionsOf(), await currentOf(), host.marks.candidates()]).toEqual([[20, 10], [20], []])
  })

  it('tells what a test that never ran was missing', async () => {
    await host.register('a')
    const { ended, id } = await begin()
    await host.node.ordered(id)
    await report(id, { state: 'failed', reason: 'sync_failed', message: 'The disk is full.' })
    await expect(ended).rejects.toThrow(refusal('version.test_failed', /failed \(The disk is full\.\)[^]*It printed nothing/))
  })

  it('is killed when cancelled', async () => {
    const { ended, id } = await begin()
    await expect.poll(() => phases.at(-1), { timeout: 10_000 }).toContain('No node has registered yet')
    controller.abort(new Error('cancelled'))
    await expect(ended).rejects.toThrow('cancelled')
    expect(await host.tasks.get(id)).toMatchObject({ state: 'killed' })
    expect([await versionsOf(), host.marks.candidates()]).toEqual([[20, 10], []])
  })

  it('that a crash left is ended at the next start', async () => {
    const { id } = await begin()
    await host.close()
    host = await createHostServices(directory)
    expect(await currentOf()).toEqual([20])
    await host.trials.recover()
    expect(await host.tasks.get(id)).toMatchObject({ state: 'killed' })
    expect([await versionsOf(), host.marks.candidates()]).toEqual([[20, 10], []])
  })

  it('whose version was never published leaves nothing', async () => {
    await host.trials.announce(trial)
    await host.trials.withdraw(trial)
    expect(host.marks.candidates()).toEqual([])
    await host.trials.announce({ ...trial, test: undefined })
    expect(host.marks.candidates()).toEqual([])
  })
})
