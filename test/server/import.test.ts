import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ImportedVersion, importQuery } from '#core/api/schemas.ts'
import { HakuError } from '#core/errors.ts'
import { createImports } from '#server/environments/import/imports.ts'
import { createLimits } from '#server/environments/import/limits.ts'
import { blobName, configOf, type Entry, layerTar, legacyArchive, ociArchive, streamOf, tarOf } from '#test/core/tarballs/support/saved-archives.ts'
import { digestOf } from '#test/support/bytes.ts'
import { layerOf, publishVersion } from '#test/support/versions.ts'
import { createHostServices, type HostServices } from './support/host-services.ts'

let directory: string
let host: HostServices
let layers: Buffer[]
let architecture: string | undefined

const at = (index: number) => layers[index] ?? Buffer.alloc(0)

beforeAll(async () => {
  layers = [await layerTar('a', 'lowest'), await layerTar('b', randomBytes(1_000_001)), await layerTar('c', 'topmost')]
})
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-import-'))
  mkdirSync(join(directory, 'spool'))
  architecture = 'x86_64'
  host = await createHostServices(directory)
  await publishVersion(host.tarballs, { environment: 'my-env', version: 10, layers: [layerOf({ old: 'one' })] })
  await publishVersion(host.tarballs, { environment: 'my-env-gpu', version: 10, layers: [layerOf({ gpu: 'one' })] })
})
afterEach(async () => {
  await host.close()
  expect(readdirSync(join(directory, 'spool'))).toEqual([])
  expect(readdirSync(host.paths.tarballs).filter((file) => file.startsWith('.tmp') || file.startsWith('my-env-gpu')).sort()).toEqual(['my-env-gpu-10.json', 'my-env-gpu-10.tar'])
  rmSync(directory, { recursive: true })
})

function importArchive(archive: Readable, { query = {}, signal = new AbortController().signal }: { query?: object; signal?: AbortSignal } = {}): Promise<ImportedVersion> {
  const info = () => (architecture === undefined ? Promise.reject(new HakuError('engine.unavailable', 'away')) : Promise.resolve({ architecture, version: '1', storageDriver: 'overlay2', usesContainerdStore: false, mapsUsers: false, cdiDirectories: [], cores: 1, memoryBytes: 1 }))
  const imports = createImports({ engine: { info }, operations: host.operations, tarballs: host.tarballs, versions: host.versions, marks: host.marks, spoolDirectory: join(directory, 'spool') })
  return imports.run('my-env', importQuery.parse(query), archive, signal)
}
const importBytes = (bytes: Buffer, options?: Parameters<typeof importArchive>[1]) => importArchive(streamOf(bytes), options)

/** What podman save and skopeo write as docker-archive: layers by their digest, the old names as links. */
function podmanArchive(own = layers): Promise<Buffer> {
  const hex = (bytes: Buffer | string) => digestOf(bytes).slice(7)
  const config = configOf(own)
  return tarOf([
    ...own.map((layer): Entry => ({ name: `${hex(layer)}.tar`, content: layer })),
    ...own.flatMap((layer, index): Entry[] => [{ name: `${String(index).repeat(64)}/VERSION`, content: '1.0' }, { name: `${String(index).repeat(64)}/layer.tar`, link: `../${hex(layer)}.tar` }, { name: `${String(index).repeat(64)}/json`, content: '{}' }]),
    { name: `${hex(config)}.json`, content: config },
    { name: 'repositories', content: '{}' },
    { name: 'manifest.json', content: JSON.stringify([{ Config: `${hex(config)}.json`, RepoTags: ['localhost/tools:1'], Layers: own.map((layer) => `${hex(layer)}.tar`) }]) },
  ])
}

describe('an archive', () => {
  it.each<[string, () => Promise<Buffer>]>([
    ['docker save before 25, and HakuRiver 0.3', () => legacyArchive(layers)],
    ['docker save', () => ociArchive(layers)],
    ['docker save, containerd image store', () => ociArchive(layers, { gzip: true, nested: true })],
    ['podman save, skopeo docker-archive', () => podmanArchive()],
    ['podman save and skopeo oci-archive', () => ociArchive(layers, { gzip: true, withManifest: false })],
    ['docker save | gzip', async () => gzipSync(await legacyArchive(layers))],
    ['podman oci-archive | gzip', async () => gzipSync(await ociArchive(layers, { gzip: true, withManifest: false }))],
  ])('of %s becomes the newest version', async (_, archive) => {
    const version = await importBytes(await archive(), { query: { note: 'from elsewhere', author: 'me' } })
    expect(version).toMatchObject({ environment: 'my-env', note: 'from elsewhere', author: 'me', current: true, damage: null, warnings: [], newBytes: layers.reduce((sum, { length }) => sum + length, 0) })
    const manifest = await host.tarballs.readManifest('my-env', version.version)
    expect(manifest?.layers.map(({ digest }) => digest)).toEqual(layers.map(digestOf))
    const config = JSON.parse(manifest?.config ?? '') as unknown
    expect(config).toMatchObject({ architecture: 'amd64', os: 'linux', config: { Cmd: ['sleep', 'infinity'], Env: ['A=1'], Labels: { 'hakuriver.environment': 'my-env', 'hakuriver.version': String(version.version) } } })
    expect(JSON.stringify(config)).not.toContain('hakuriver.container')
    // As whole as any other, and nothing was removed for it.
    await buffer(await host.exports.open('my-env', version.version))
    expect((await host.tarballs.listVersions('my-env')).map((each) => each.version)).toEqual([version.version, 10])
  })

  it('of our own export comes back, sharing its layers with the version it came from', async () => {
    const first = await importBytes(await ociArchive(layers))
    const second = await importArchive(await host.exports.open('my-env', first.version))
    expect(second).toMatchObject({ newBytes: 0 })
    expect((await host.tarballs.readManifest('my-env', second.version))?.layers).toEqual((await host.tarballs.readManifest('my-env', first.version))?.layers)
  })

  it('with the same layer twice is taken, as Engines write it', async () => {
    for (const bytes of [await legacyArchive([at(0), at(1), at(0)]), await ociArchive([at(0), at(1), at(0)], { gzip: true }), await podmanArchive([at(0), at(1)])]) {
      expect(await importBytes(bytes)).toMatchObject({ damage: null })
    }
    const versions = await host.tarballs.listVersions('my-env')
    expect((await host.tarballs.readManifest('my-env', versions[1]?.version ?? 0))?.layers.map(({ digest }) => digest)).toEqual([0, 1, 0].map((index) => digestOf(at(index))))
  })

  it('for another architecture is taken with a warning', async () => {
    architecture = 'aarch64'
    expect((await importBytes(await ociArchive(layers))).warnings).toEqual([expect.stringContaining('for amd64, and the Host is arm64')])
    architecture = undefined
    expect((await importBytes(await ociArchive(layers))).warnings).toEqual([])
  })

  it('is told by its beginning, however small the pieces are, and whatever its first name', async () => {
    const pieces = (bytes: Buffer) => Readable.from([...[...bytes.subarray(0, 12)].map((byte) => Buffer.from([byte])), bytes.subarray(12)], { objectMode: false })
    const config = configOf(layers)
    const odd = await tarOf([{ name: 'BZh9', content: 'x' }, ...layers.map((content, index): Entry => ({ name: `${String(index + 1).repeat(64)}/layer.tar`, content })), { name: `${digestOf(config).slice(7)}.json`, content: config }, { name: 'manifest.json', content: JSON.stringify([{ Config: `${digestOf(config).slice(7)}.json`, Layers: layers.map((_, index) => `${String(index + 1).repeat(64)}/layer.tar`) }]) }])
    for (const bytes of [odd, gzipSync(odd)]) expect(await importArchive(pieces(bytes))).toMatchObject({ damage: null })
    await expect(importArchive(pieces(Buffer.from('BZh91AY&SY rest of it')))).rejects.toMatchObject({ code: 'import.refused', message: expect.stringContaining('compressed with bzip2') })
  })

  it('keeps every kind of run configuration that Engines write, and links that are replaced', async () => {
    const config = { User: '1000:1000', Env: ['A=1', 'EMPTY=', 'NAME'], Entrypoint: ['x'], Cmd: null, WorkingDir: '', StopSignal: 'SIGINT', Labels: null, Volumes: { '/data': {} }, ExposedPorts: { '80/tcp': {}, '53': {} }, Healthcheck: { Test: ['CMD', 'true'], Interval: 30_000_000_000 }, OnBuild: null, Unknown: 1 }
    const own = [layerOf({ 's': { type: 'symlink', target: '/etc' }, 's/': '', 's/fine': 'x', '.wh.gone': '', '.wh..wh..opq': '' })]
    const imported = await importBytes(await ociArchive(own, { config: JSON.stringify({ ...(JSON.parse(configOf(own)) as object), variant: null, config }) }))
    const manifest = await host.tarballs.readManifest('my-env', imported.version)
    expect(JSON.parse(manifest?.config ?? '')).toMatchObject({ config: { User: '1000:1000', Env: ['A=1', 'EMPTY=', 'NAME'], Entrypoint: ['x'], Volumes: { '/data': {} }, ExposedPorts: { '80/tcp': {}, '53': {} } } })
  })

  it('keeps what the image is called as its base image', async () => {
    expect(await importBytes(await podmanArchive())).toMatchObject({ baseImage: 'localhost/tools:1', author: '' })
    expect(await importBytes(await legacyArchive(layers))).toMatchObject({ baseImage: 'an imported archive' })
  })
})

describe('is refused with the reason, and nothing is stored:', () => {
  const hex = (bytes: Buffer | string) => digestOf(bytes).slice(7)
  const saved = (config: string, more: Entry[] = [], entry: object = {}) => [
    ...more,
    { name: `${hex(config)}.json`, content: config },
    { name: 'manifest.json', content: JSON.stringify([{ Config: `${hex(config)}.json`, RepoTags: null, Layers: layers.map((_, index) => `${String(index + 1).repeat(64)}/layer.tar`), ...entry }]) },
  ]
  const folders = () => layers.map((content, index): Entry => ({ name: `${String(index + 1).repeat(64)}/layer.tar`, content }))
  const withConfig = (change: object) => tarOf(saved(JSON.stringify({ ...(JSON.parse(configOf(layers)) as object), ...change }), folders()))
  const withLayer = (files: Parameters<typeof layerOf>[0]) => ociArchive([at(0), layerOf(files)])
  const extra = (...entries: Entry[]) => ociArchive(layers, { extra: entries })

  it.each<[string, () => Promise<Buffer> | Buffer, RegExp]>([
    ['no archive at all', () => Buffer.from('<html>Bad gateway</html>'.repeat(100)), /Not a tar archive/],
    ['nothing', () => Buffer.alloc(0), /neither a manifest\.json nor an index\.json/],
    ['half an archive', async () => (await ociArchive(layers)).subarray(0, 500_000), /was cut/],
    ['half a compressed one', async () => gzipSync(await ociArchive(layers)).subarray(0, 500_000), /is damaged|was cut/],
    ['what docker export writes', () => tarOf([{ name: 'bin/sh', content: 'x' }, { name: 'etc/passwd', content: 'root' }]), /docker export/],
    ['a name that leads out', () => extra({ name: '../../etc/cron.d/x', content: 'x' }), /leads out of it/],
    ['a name that leads out in the middle', () => extra({ name: 'blobs/sha256/../../../x', content: 'x' }), /leads out of it/],
    ['an absolute name', () => extra({ name: '/etc/passwd', content: 'x' }), /leads out of it/],
    ['a link out', () => extra({ name: `${'9'.repeat(64)}/layer.tar`, link: '../../../etc/shadow' }), /is a link to "\.\.\/\.\.\/\.\.\/etc\/shadow"/],
    ['a link for a blob', () => extra({ name: `blobs/sha256/${'9'.repeat(64)}`, link: `../${'1'.repeat(64)}.tar` }), /is a link to/],
    ['a link for the manifest', () => extra({ name: 'manifest.json', link: '/etc/passwd' }), /is a link to/],
    ['a layer that is a link to nothing', async () => tarOf(saved(configOf(layers), [...folders().slice(0, 2), { name: `${'3'.repeat(64)}/layer.tar`, link: `../${'4'.repeat(64)}/layer.tar` }])), /its layer .* is not in it/],
    ['a device', () => layerOf({ 'blobs/x': { type: 'block', major: 8, minor: 0 } }), /neither a file nor a directory/],
    ['a hard link', () => layerOf({ 'manifest.json': { type: 'link', target: '/etc/passwd' } }), /neither a file nor a directory/],
    ['a name twice', () => extra({ name: 'index.json', content: '{"manifests":[]}' }), /has "index\.json" twice/],
    ['a blob with another digest', () => extra({ name: `blobs/sha256/${'9'.repeat(64)}`, content: at(0) }), /has the digest/],
    ['a compressed blob with another digest', () => extra({ name: `blobs/sha256/${'9'.repeat(64)}`, content: gzipSync(at(0)) }), /has the digest/],
    ['a document with another digest', () => extra({ name: `blobs/sha256/${'9'.repeat(64)}`, content: '{}' }), /has the digest/],
    ['a configuration with another digest', () => tarOf(saved(configOf(layers), folders()).map((entry) => (entry.name.endsWith('.json') && entry.name !== 'manifest.json' ? { ...entry, content: `${String(entry.content)} ` } : entry))), /its configuration .* has the digest/],
    ['a layer that was changed', () => legacyArchive([at(0), Buffer.from(at(1)).fill('x', 2000, 2001), at(2)], configOf(layers)), /is sha256:.*, and its configuration says sha256:/],
    ['layers in another order', () => legacyArchive([at(1), at(0), at(2)], configOf(layers)), /its configuration says/],
    ['a layer too few', () => legacyArchive(layers.slice(0, 2), configOf(layers)), /names 3 layers and its manifest 2/],
    ['a layer that is not there', () => tarOf(saved(configOf(layers), folders().slice(0, 2))), /is not in it/],
    ['no configuration', () => tarOf([...folders(), { name: 'manifest.json', content: '[{"Config":"x.json","Layers":[]}]' }]), /its configuration "x\.json" is not in it/],
    ['a configuration that makes no sense', () => withConfig({ rootfs: 'no' }), /its configuration makes no sense \(rootfs: [^\n]+\)\. Nothing was stored\.$/],
    ['a manifest that is no JSON', () => tarOf([{ name: 'manifest.json', content: '[{' }]), /makes no sense as an image/],
    ['a manifest of brackets', () => tarOf([{ name: 'manifest.json', content: '['.repeat(3_000_000) }]), /larger than any list of images/],
    ['no image', () => tarOf([{ name: 'manifest.json', content: '[]' }]), /holds no image/],
    ['two images, named', async () => {
      const others = configOf([at(0)])
      const both = [{ Config: `${hex(configOf(layers))}.json`, RepoTags: ['one:1'], Layers: [] }, { Config: `${hex(others)}.json`, RepoTags: ['two:2', 'two:3'], Layers: [] }]
      return tarOf([{ name: 'manifest.json', content: JSON.stringify(both) }])
    }, /holds 2 images \("one:1", "two:2" "two:3"\)/],
    ['an index that names another image than the manifest', async () => {
      const other = configOf([at(0)])
      const manifest = JSON.stringify({ schemaVersion: 2, config: { digest: digestOf(other) }, layers: [{ digest: digestOf(at(0)) }] })
      return tarOf([...saved(configOf(layers), folders()), { name: blobName(other), content: other }, { name: blobName(manifest), content: manifest }, { name: 'index.json', content: JSON.stringify({ manifests: [{ digest: digestOf(manifest), annotations: { 'org.opencontainers.image.ref.name': 'evil' } }] }) }])
    }, /holds 2 images .*"evil"/],
    ['indexes without end', async () => {
      const nest = (inner: string, depth: number): Entry[] => (depth === 0 ? [] : [{ name: blobName(inner), content: inner }, ...nest(JSON.stringify({ manifests: [{ digest: digestOf(inner) }] }), depth - 1)])
      const entries = nest('{"manifests":[]}', 8)
      return tarOf([...entries, { name: 'index.json', content: JSON.stringify({ manifests: [{ digest: `sha256:${entries.at(-1)?.name.slice(13)}` }] }) }])
    }, /nested too deeply/],
    ['a configuration with { Env: "A=1" }', () => withConfig({ config: { Env: 'A=1' } }), /its configuration makes no sense \(config\.Env/],
    ['a configuration with { Env: ["=x"] }', () => withConfig({ config: { Env: ['=x'] } }), /its configuration makes no sense \(config\.Env\.0: has no name before "="/],
    ['a configuration with { Env: ["A=1NUL"] }', () => withConfig({ config: { Env: ['A=1\0'] } }), /its configuration makes no sense \(config\.Env\.0/],
    ['a configuration with { Labels: { a: 1 } }', () => withConfig({ config: { Labels: { a: 1 } } }), /its configuration makes no sense \(config\.Labels\.a/],
    ['a configuration with { Entrypoint: "x" }', () => withConfig({ config: { Entrypoint: 'x' } }), /its configuration makes no sense \(config\.Entrypoint/],
    ['a configuration with { ExposedPorts: [1] }', () => withConfig({ config: { ExposedPorts: [1] } }), /its configuration makes no sense \(config\.ExposedPorts/],
    ['a configuration with { ExposedPorts: { "http": {} } }', () => withConfig({ config: { ExposedPorts: { 'http': {} } } }), /its configuration makes no sense \(config\.ExposedPorts/],
    ['a configuration with { Cmd: [1] }', () => withConfig({ config: { Cmd: [1] } }), /its configuration makes no sense \(config\.Cmd\.0/],
    ['a configuration with { Volumes: ["/x"] }', () => withConfig({ config: { Volumes: ['/x'] } }), /its configuration makes no sense \(config\.Volumes/],
    ['a configuration with { User: 0 }', () => withConfig({ config: { User: 0 } }), /its configuration makes no sense \(config\.User/],
    ['a configuration with { WorkingDir: {} }', () => withConfig({ config: { WorkingDir: {} } }), /its configuration makes no sense \(config\.WorkingDir/],
    ['a configuration with { StopSignal: 9 }', () => withConfig({ config: { StopSignal: 9 } }), /its configuration makes no sense \(config\.StopSignal/],
    ['a configuration with { Healthcheck: { Test: "x" } }', () => withConfig({ config: { Healthcheck: { Test: 'x' } } }), /its configuration makes no sense \(config\.Healthcheck\.Test/],
    ['a configuration with { OnBuild: "x" }', () => withConfig({ config: { OnBuild: 'x' } }), /its configuration makes no sense \(config\.OnBuild/],
    ['a configuration that is a list', () => withConfig({ config: [] }), /its configuration makes no sense \(config:/],
    ['an image for Windows', () => withConfig({ os: 'windows' }), /image for "windows"/],
    ['an image without layers', () => tarOf(saved(JSON.stringify({ ...(JSON.parse(configOf(layers)) as object), rootfs: { type: 'layers', diff_ids: [] } }), [], { Layers: [] })), /has 0 layers/],
    ['an image with more layers than any Engine loads', () => ociArchive(Array.from({ length: 126 }, (_, index) => layerOf({ [`file-${index}`]: 'x' }))), /it has 126 layers, and an Engine takes 1 to 125/],
    ['a layer that is no tar', () => ociArchive([at(0), Buffer.from('not a tar'.repeat(200))]), /Not a tar archive/],
    ['a layer with a name that leads out', () => withLayer({ '../../etc/cron.d/x': 'x' }), /its layer blobs\/sha256\/[0-9a-f]{64} has an entry "\.\.\/\.\.\/etc\/cron\.d\/x"/],
    ['a layer with an absolute name', () => withLayer({ '/etc/x': 'x' }), /has an entry "\/etc\/x"/],
    ['a layer with a hard link out', () => withLayer({ x: { type: 'link', target: '../../etc/shadow' } }), /has a hard link "x" to "\.\.\/\.\.\/etc\/shadow"/],
    ...['.wh.', '.wh..', '.wh...', 'etc/.wh..', 'etc/.wh...', 'etc/.wh.../'].map((path): [string, () => Promise<Buffer>, RegExp] => [`a layer with the whiteout ${path}`, () => withLayer({ [path]: '' }), /has an entry ".*", which leads out of it/]),
    ['a layer with an entry below a link of its own', () => withLayer({ s: { type: 'symlink', target: '/etc' }, 's/evil': 'x' }), /has an entry "s\/evil", which leads through the symbolic link "s"/],
    ['a layer with an entry far below a link of its own', () => withLayer({ 'a/s': { type: 'symlink', target: '..' }, 'a//s/./b/c': 'x' }), /leads through the symbolic link "a\/s"/],
    ['a layer with a hard link through a link', () => withLayer({ s: { type: 'symlink', target: '/etc' }, x: { type: 'link', target: 's/shadow' } }), /has a hard link "x" to "s\/shadow", which leads through/],
    ['an archive in bzip2', () => Buffer.concat([Buffer.from('BZh91AY&SY'), Buffer.alloc(1000, 'x')]), /it is compressed with bzip2; gzip.* are taken/],
    ['an archive in xz', () => Buffer.concat([Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), Buffer.alloc(1000, 'x')]), /it is compressed with xz; gzip/],
    ['a layer in xz', () => ociArchive([at(0), Buffer.concat([Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), Buffer.alloc(1000, 'x')])]), /its layer blobs\/sha256\/[0-9a-f]{64} is compressed with xz/],
    ['a header that promises a terabyte', () => withLayer({ x: { size: 1024 ** 4 } }), /was cut/],
    ['a document without end', () => extra({ name: `blobs/sha256/${'9'.repeat(64)}`, content: `{${' '.repeat(17 * 1024 * 1024)}}` }), /larger than any document/],
    ['damaged gzip', () => {
      const squeezed = gzipSync(at(1))
      squeezed.fill('x', 40_000, 41_000)
      return tarOf([{ name: blobName(squeezed), content: squeezed }])
    }, /compressed in it is damaged|has the digest/],
  ])('%s', async (_, bytes, reason) => {
    const before = readdirSync(host.paths.tarballs)
    await expect(importBytes(await bytes())).rejects.toMatchObject({ code: 'import.refused', message: expect.stringMatching(reason) })
    expect(readdirSync(host.paths.tarballs)).toEqual(before)
  })

  it('what grows without end, in the archive and in its layers', async () => {
    const zeros = gzipSync(Buffer.alloc(40_000_000), { level: 9 })
    const limits = (received: number) => {
      const made = createLimits({ spool: { assertRoom: () => Promise.resolve() }, tarballs: { freeSpace: () => Promise.resolve(undefined) }, alwaysAllowedBytes: 1_000_000 })
      return { ...made, feed: async () => { for await (const chunk of made.received(Readable.from([Buffer.alloc(received)]))) void chunk } }
    }
    const fair = limits(zeros.length)
    await fair.feed()
    await fair.spooled(1_000_000)
    await expect(fair.spooled(39_000_000)).rejects.toMatchObject({ code: 'import.refused', message: expect.stringContaining('when decompressed') })
    const large = limits(500_000)
    await large.feed()
    await large.spooled(49_000_000)
    const outer = limits(1000)
    await outer.feed()
    const drain = async () => { for await (const chunk of outer.inflated(Readable.from([Buffer.alloc(900_000), Buffer.alloc(200_000)]))) void chunk }
    await expect(drain()).rejects.toMatchObject({ code: 'import.refused' })
  })

  it('what neither the disk of the state nor the shared storage has room for', async () => {
    host.tarballs.freeSpace = () => Promise.resolve(500_000)
    await expect(importBytes(await ociArchive(layers))).rejects.toMatchObject({ code: 'storage.full' })
    const full = createLimits({ spool: { assertRoom: () => Promise.reject(new HakuError('storage.full', 'full')) }, tarballs: host.tarballs })
    await expect(full.spooled(1)).rejects.toMatchObject({ code: 'storage.full' })
    expect((await host.tarballs.listVersions('my-env')).map(({ version }) => version)).toEqual([10])
  })

  it('what the client gives up in the middle', async () => {
    const controller = new AbortController()
    const bytes = await ociArchive(layers)
    const source = Readable.from((async function* () {
      yield bytes.subarray(0, 300_000)
      controller.abort(new Error('gone'))
      yield bytes.subarray(300_000)
    })(), { objectMode: false })
    await expect(importArchive(source, { signal: controller.signal })).rejects.toThrow('gone')
    expect((await host.tarballs.listVersions('my-env')).map(({ version }) => version)).toEqual([10])
  })

  it('while somebody works on the environment, once it is uploaded', async () => {
    await host.operations.exclusively('my-env', async () => {
      await expect(importBytes(await ociArchive(layers))).rejects.toMatchObject({ code: 'environment.busy' })
    })
  })
})
