import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { diffQuery, type FileChange, type VersionDiff } from '#core/api/schemas.ts'
import { type LayerFile, layerOf, publishVersion } from '#test/support/versions.ts'
import { createHostServices, type HostServices } from './support/host-services.ts'

let directory: string
let host: HostServices

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-diff-'))
  host = await createHostServices(directory)
})
afterEach(async () => {
  await host.close()
  rmSync(directory, { recursive: true })
})

type Files = Record<string, LayerFile>

/** Two versions that begin with `below`, and what differs between them. */
async function diff({ below, before = [], after = [], query = {} }: { below: Files[]; before?: Files[]; after?: Files[]; query?: object }): Promise<VersionDiff> {
  for (const [version, own] of [[10, before], [20, after]] as const) await publishVersion(host.tarballs, { environment: 'my-env', version, layers: [...below, ...own].map(layerOf) })
  return host.diffs.compare('my-env', diffQuery.parse(query), new AbortController().signal)
}

const SIGNS: Record<FileChange['change'], string> = { added: '+', changed: '~', deleted: '-' }
const short = ({ files }: VersionDiff) => files.map(({ change, path, before, after }) => `${SIGNS[change]} ${path} ${before} ${after}`)

describe('files', () => {
  it('that came, changed and went, with sizes and totals', async () => {
    const found = await diff({
      below: [{ 'etc/': '', 'etc/a': 'aaaa', 'etc/b': 'bbbb', 'etc/c': 'cccc', 'etc/d': 'dddd' }],
      after: [{ 'etc/': '', 'etc/a': 'AAAA!', 'etc/.wh.b': '', 'etc/new': 'n', 'etc/d': 'dddd' }],
    })
    expect(short(found)).toEqual(['~ etc/a 4 5', '- etc/b 4 null', '+ etc/new null 1'])
    expect(found).toMatchObject({ environment: 'my-env', from: 10, to: 20, truncated: false, totals: { added: { files: 1, bytes: 1 }, changed: { files: 1, bytes: 5 }, deleted: { files: 1, bytes: 4 } }, packages: [] })
  })

  it('are the same however often they were written again', async () => {
    const found = await diff({ below: [{ a: 'one' }], before: [{ a: { content: 'two', mtime: '5' } }], after: [{ b: 'x' }, { '.wh.b': '' }, { a: { content: 'two', mtime: '1700000001.5' } }] })
    expect(short(found)).toEqual([])
  })

  it.each<[string, Files, Files, string[]]>([
    ['content of the same size and time', { a: 'one' }, { a: 'two' }, ['~ a 3 3']],
    ['mode', { a: 'x' }, { a: { content: 'x', mode: 0o755 } }, ['~ a 1 1']],
    ['owner', { a: 'x' }, { a: { content: 'x', uid: 1000 } }, ['~ a 1 1']],
    ['extended attributes', { a: 'x' }, { a: { content: 'x', xattrs: new Map([['security.capability', '\u0001']]) } }, ['~ a 1 1']],
    ['target of a link', { a: { type: 'symlink', target: 'x' } }, { a: { type: 'symlink', target: 'y' } }, ['~ a 0 0']],
    ['file to symlink', { a: 'x' }, { a: { type: 'symlink', target: 'y' } }, ['~ a 1 0']],
    ['device number', { a: { type: 'character', major: 1, minor: 3 } }, { a: { type: 'character', major: 1, minor: 5 } }, ['~ a 0 0']],
    ['mode of a directory', { 'd/': '', 'd/x': 'x' }, { 'd/': { mode: 0o700 } }, ['~ d 0 0']],
    ['an empty directory', { x: 'x' }, { 'd/': '' }, ['+ d null 0']],
    ['a directory with something in it', { x: 'x' }, { 'd/': '', 'd/e/': '', 'd/e/f': 'f' }, ['+ d/e/f null 1']],
    ['directory to file', { 'd/': '', 'd/x': 'x', 'd/e/y': 'y' }, { d: 'now a file' }, ['~ d 0 10', '- d/e/y 1 null', '- d/x 1 null']],
    ['file to directory', { d: 'x' }, { 'd/': '', 'd/y': 'y' }, ['~ d 1 0', '+ d/y null 1']],
    ['a whiteout of a directory', { 'd/': '', 'd/x': 'x', 'd/e/y': 'y' }, { '.wh.d': '' }, ['- d/e/y 1 null', '- d/x 1 null']],
    ['an opaque directory', { 'd/': '', 'd/x': 'x', 'd/y': 'y' }, { 'd/': '', 'd/z': 'z', 'd/y': 'y', 'd/.wh..wh..opq': '' }, ['- d/x 1 null', '+ d/z null 1']],
    ['a hard link', { a: 'same' }, { a: 'same', b: { type: 'link', target: 'a' } }, ['+ b null 4']],
    ['a hard link that became a copy', { a: 'same', b: { type: 'link', target: 'a' } }, { b: 'same' }, []],
    ['notes of old storage drivers', { a: 'x' }, { '.wh..wh.plnk': '', '.wh..wh.aufs': '' }, []],
    ['odd names', { a: 'x' }, { 'b\u00e4\u00ff': 'x', 'c\u00c3\u00a4': 'y', 'd\u0007': 'z' }, [String.raw`+ b\xe4\xff null 1`, '+ cä null 1', '+ d\u0007 null 1']],
    ['names that begin alike', { 'my-env': 'x', 'my-env-gpu': 'y' }, { '.wh.my-env': '' }, ['- my-env 1 null']],
  ])('%s', async (_, below, after, expected) => {
    expect(short(await diff({ below: [below], after: [after] }))).toEqual(expected)
  })

  it('are only those of the versions compared, in the order that is asked for', async () => {
    await diff({ below: [{ a: '1' }], after: [{ b: '2' }] })
    await publishVersion(host.tarballs, { environment: 'my-env', version: 30, layers: [layerOf({ a: '1' }), layerOf({ c: '3' })] })
    await publishVersion(host.tarballs, { environment: 'my-env-gpu', version: 25, layers: [layerOf({ gpu: '!' })] })
    const compare = async (query: object) => host.diffs.compare('my-env', diffQuery.parse(query), new AbortController().signal)
    expect(short(await compare({}))).toEqual(['- b 1 null', '+ c null 1'])
    expect(short(await compare({ from: '10' }))).toEqual(['+ c null 1'])
    expect(short(await compare({ from: '30', to: '20' }))).toEqual(['+ b null 1', '- c 1 null'])
    expect(short(await compare({ to: '20' }))).toEqual(['+ b null 1'])
    expect(short(await compare({ from: '20', to: '20' }))).toEqual([])
    await host.marks.set('my-env', 30, { isCandidate: true })
    expect(await compare({})).toMatchObject({ from: 10, to: 20 })
    await expect(compare({ from: '11' })).rejects.toThrow(expect.objectContaining({ code: 'tarball.not_found' }))
    await expect(compare({ to: '10' })).rejects.toThrow(expect.objectContaining({ code: 'tarball.not_found', message: expect.stringContaining('no version before 10') }))
    writeFileSync(join(host.paths.tarballs, 'my-env-5.tar'), 'x')
    await expect(compare({ to: '10' })).rejects.toThrow(expect.objectContaining({ code: 'version.without_manifest' }))
  })

  it('are listed up to a limit, and counted all', async () => {
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`f${String(index).padStart(2, '0')}`, 'x']))
    const found = await diff({ below: [{ a: '1' }], after: [many], query: { limit: '3' } })
    expect(short(found)).toEqual(['+ f00 null 1', '+ f01 null 1', '+ f02 null 1'])
    expect(found).toMatchObject({ truncated: true, totals: { added: { files: 50, bytes: 50 } } })
  })

  it('need no layer read that nothing lies upon', async () => {
    const first = await publishVersion(host.tarballs, { environment: 'my-env', version: 10, layers: [layerOf({ a: '1' })] })
    await publishVersion(host.tarballs, { environment: 'my-env', version: 20, layers: [], onTopOf: first })
    let reads = 0
    const read = host.tarballs.read
    host.tarballs.read = (...args) => {
      reads += 1
      return read(...args)
    }
    expect(short(await host.diffs.compare('my-env', diffQuery.parse({}), new AbortController().signal))).toEqual([])
    expect(reads).toBe(0)
  })

  it('can be given up in the middle', async () => {
    const reason = new Error('gone')
    await diff({ below: [{ a: '1' }], after: [{ b: '2' }] })
    await expect(host.diffs.compare('my-env', diffQuery.parse({}), AbortSignal.abort(reason))).rejects.toBe(reason)
    // Nothing is held any more.
    await host.versions.remove('my-env', 20)
  })

  // A seeded tree: what was done to it is known, and is what is found.
  it.each([1, 2, 3])('of a tree of random changes (seed %i)', async (seed) => {
    let state = seed
    const random = (limit: number) => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 16) % limit
    const path = () => `d${random(6)}/e${random(6)}/f${random(10)}`
    const now = new Map<string, string>()
    const below: Files = {}
    for (let count = 0; count < 200; count++) {
      const name = path()
      now.set(name, `${name} ${random(3)}`)
      below[name] = now.get(name) ?? ''
    }
    const start = new Map(now)
    const layers: Files[] = []
    for (let layer = 0; layer < 5; layer++) {
      const files: Files = {}
      for (let count = 0; count < 40; count++) {
        const name = path()
        const [folder = '', leaf = ''] = [name.slice(0, name.lastIndexOf('/')), name.slice(name.lastIndexOf('/') + 1)]
        if (name in files || `${folder}/.wh.${leaf}` in files) continue
        if (random(3) === 0) {
          files[`${folder}/.wh.${leaf}`] = ''
          now.delete(name)
        } else {
          now.set(name, `${name} ${random(3)}`)
          files[name] = now.get(name) ?? ''
        }
      }
      layers.push(files)
    }
    const expected = [...new Set([...start.keys(), ...now.keys()])].sort().flatMap((name) => {
      const [old, fresh] = [start.get(name), now.get(name)]
      return old === fresh ? [] : [`${old === undefined ? '+' : fresh === undefined ? '-' : '~'} ${name} ${old?.length ?? null} ${fresh?.length ?? null}`]
    })
    expect(expected.length).toBeGreaterThan(50)
    expect(short(await diff({ below: [below], after: layers }))).toEqual(expected)
  })
})

describe('packages', () => {
  const dpkg = (packages: Record<string, string>, status = 'install ok installed') => Object.entries(packages).map(([name, version]) => `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nVersion: ${version}\nDescription: x\n more\n\n`).join('')
  const apk = (packages: Record<string, string>) => Object.entries(packages).map(([name, version]) => `C:Q1xyz=\nP:${name}\nV:${version}\nA:x86_64\n`).join('\n')

  it.each<[string, Files, Files, string[]]>([
    ['apt', { 'var/lib/dpkg/status': dpkg({ curl: '7.88', vim: '9.0', gone: '1' }) }, { 'var/lib/dpkg/status': `${dpkg({ curl: '8.0', vim: '9.0', git: '1:2.39' })}${dpkg({ gone: '1' }, 'deinstall ok config-files')}` }, ['apt curl 7.88 8.0', 'apt git null 1:2.39', 'apt gone 1 null']],
    ['apt without a shell', { 'var/lib/dpkg/status.d/base': 'Package: base-files\nVersion: 12\n' }, { 'var/lib/dpkg/status.d/tzdata': 'Package: tzdata\nVersion: 2024a\n' }, ['apt tzdata null 2024a']],
    ['apk', { 'lib/apk/db/installed': apk({ musl: '1.2.4', busybox: '1.36' }) }, { 'lib/apk/db/installed': apk({ musl: '1.2.5', busybox: '1.36', git: '2.40' }) }, ['apk git null 2.40', 'apk musl 1.2.4 1.2.5']],
    ['apk, merged', { 'usr/lib/apk/db/installed': apk({ musl: '1' }) }, { 'usr/lib/apk/db/installed': apk({ musl: '2' }) }, ['apk musl 1 2']],
    ['pip', {
      'usr/lib/python3/site-packages/numpy-1.26.0.dist-info/METADATA': 'x', 'usr/lib/python3/site-packages/PyYAML-6.0.dist-info/METADATA': 'x', 'usr/lib/python3/dist-packages/old_thing-1.0-py3.11.egg-info': 'x',
    }, {
      'usr/lib/python3/site-packages/.wh.numpy-1.26.0.dist-info': '', 'usr/lib/python3/site-packages/numpy-2.1.0.dist-info/METADATA': 'x', 'usr/lib/python3/site-packages/torch-2.5.0+cu121.dist-info/METADATA': 'x',
      'usr/lib/python3/dist-packages/.wh.old_thing-1.0-py3.11.egg-info': '', 'home/numpy-9.dist-info/METADATA': 'not installed',
    }, ['pip numpy 1.26.0 2.1.0', 'pip old-thing 1.0 null', 'pip torch null 2.5.0+cu121']],
    ['pip in two Pythons', { 'a/site-packages/six-1.0.dist-info/METADATA': 'x' }, { 'b/site-packages/six-2.0.dist-info/METADATA': 'x' }, ['pip six 1.0 1.0, 2.0']],
    ['conda', { 'opt/conda/conda-meta/python-3.11.5-h955ad1f_0.json': '{}', 'opt/conda/conda-meta/history': 'x' }, { 'opt/conda/conda-meta/.wh.python-3.11.5-h955ad1f_0.json': '', 'opt/conda/conda-meta/python-3.12.1-h1_0.json': '{}', 'opt/conda/conda-meta/ca-certificates-2024.3-h0.json': '{}' }, ['conda ca-certificates null 2024.3', 'conda python 3.11.5 3.12.1']],
    ['none, where only a time changed', { 'var/lib/dpkg/status': dpkg({ curl: '7.88' }) }, { 'var/lib/dpkg/status': { content: dpkg({ curl: '7.88' }), mtime: '9' } }, []],
  ])('of %s', async (_, below, after, expected) => {
    const { packages } = await diff({ below: [below], after: [after] })
    expect(packages.map(({ manager, name, before, after: now }) => `${manager} ${name} ${before} ${now}`)).toEqual(expected)
  })
})
