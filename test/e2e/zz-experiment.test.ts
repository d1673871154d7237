import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'vitest'
import { createContainerBody, createVersionBody, type Operation } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { createDockerEngine } from '#core/engine/docker.ts'
import { createFileSystemStore } from '#core/tarballs/file-system-store.ts'
import { openLoadable } from '#core/tarballs/loadable.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { startTestEngine } from '#test/engines/engine.ts'
import { createEnvironmentServices } from '#test/support/environments.ts'
import { ensureBusybox } from '#test/support/images.ts'

it('experiment', { timeout: 300_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-exp-'))
  const database = await openDatabase<Tables>(join(directory, 'state', 'host.db'), migrations)
  const store = createFileSystemStore({ directory, ownerId: 'me' })
  const source = await startTestEngine('installed')
  const target = await startTestEngine('28-containerd')
  try {
    const engine = createDockerEngine({ socketPath: source.socketPath })
    const other = createDockerEngine({ socketPath: target.socketPath })
    await ensureBusybox(source.socketPath)
    const { operations, containers, packaging } = await createEnvironmentServices({ engine, database, tarballs: store, stateDirectory: join(directory, 'state'), keepVersions: 5 })
    const end = async (started: Promise<Operation>) => operations.get((await started).id, 60)
    await end(containers.create(createContainerBody.parse({ name: 'exp', image: 'busybox:latest' })))
    const versions: number[] = []
    for (const word of ['one', 'two', 'three']) {
      const { stream } = await engine.exec('exp', { command: ['sh', '-c', `echo ${word} > /${word}`], tty: false })
      for await (const _ of stream.resume()) continue
      const packaged = await end(packaging.start('exp', createVersionBody.parse({ note: '' })))
      versions.push((packaged.result as { version: number }).version)
    }
    const load = async (version: number, skip: number) => {
      const manifest = (await store.readManifest('exp', version))!
      const entry = (await store.find('exp', version))!
      const archive = openLoadable({ entry, manifest, layers: manifest.layers.slice(skip), read: ({ offset, size }) => store.read('exp', version, { start: offset, end: offset + size }) })
      try {
        const loaded = await other.loadImage(archive)
        const image = await other.inspectImage(manifest.manifestDigest)
        console.log('load', version, 'skip', skip, 'of', manifest.layers.length, loaded, image?.id, image?.layers.length)
        try {
          const id = await other.createContainer({ name: `x${version}-${skip}`, image: manifest.manifestDigest, command: ['sh', '-c', 'ls /'], env: {}, labels: {}, mounts: [], network: 'host', logs: 'lossless' })
          await other.startContainer(id)
          console.log('exit', await other.waitContainer(id))
          await other.removeContainer(id)
        } catch (e) { console.log('run failed', String(e)) }
      } catch (e) { console.log('load failed', version, 'skip', skip, String(e)) }
      console.log((await other.listImages()).map(({ id, labels }) => [id.slice(7, 19), labels]))
    }
    const layers = (await store.readManifest('exp', versions[0]!))!.layers
    console.log(layers.map(({ digest, size }) => [digest, size]))


    await ensureBusybox(target.socketPath)
    const s2 = await createEnvironmentServices({ engine: other, database, tarballs: store, stateDirectory: join(directory, 'state2'), keepVersions: 5 })
    await s2.operations.get((await s2.containers.create(createContainerBody.parse({ name: 'exp2', image: 'busybox:latest' }))).id, 60)
    { const { stream } = await other.exec('exp2', { command: ['sh', '-c', `echo x > /committed`], tty: false }); for await (const _ of stream.resume()) continue }
    const p2 = await s2.operations.get((await s2.packaging.start('exp2', createVersionBody.parse({ note: '' }))).id, 60)
    const v2 = (p2.result as { version: number }).version
    const m2 = (await store.readManifest('exp2', v2))!
    console.log('exp2 layers', m2.layers.map(({ digest, size }) => [digest, size]), (await other.inspectImage('busybox:latest'))?.layers)
    await s2.operations.get((await s2.operations.list({ limit: 1 })).items[0]!.id, 60)
    const tryIt = async (skip: number) => {
      const entry = (await store.find('exp2', v2))!
      try {
        const loaded = await other.loadImage(openLoadable({ entry, manifest: m2, layers: m2.layers.slice(skip), read: ({ offset, size }) => store.read('exp2', v2, { start: offset, end: offset + size }) }))
        const image = await other.inspectImage(m2.manifestDigest)
        console.log('load exp2 skip', skip, loaded, image?.id, image?.layers, image?.labels, image?.size)
        try {
          const id = await other.createContainer({ name: `y${skip}`, image: m2.manifestDigest, command: ['ls', '/committed'], env: {}, labels: {}, mounts: [], network: 'host', logs: 'lossless' })
          await other.startContainer(id); console.log('exit', await other.waitContainer(id)); await other.removeContainer(id)
        } catch (e) { console.log('run failed', String(e)) }
      } catch (e) { console.log('load exp2 failed skip', skip, String(e)) }
    }
    await tryIt(1)
    // without the base now
    await other.removeContainer('exp2')
    await other.removeImage('busybox:latest')
    console.log((await other.listImages()).map(({ id }) => id.slice(7, 19)))
    const id = await other.createContainer({ name: `zz`, image: m2.manifestDigest, command: ['ls', '/committed'], env: {}, labels: {}, mounts: [], network: 'host', logs: 'lossless' }).catch(String)
    console.log('still', id)
    await other.removeContainer('zz')
    const saved = await other.saveImage(m2.manifestDigest).catch(String)
    console.log('save', typeof saved === 'string' ? saved : (await import('node:stream/consumers')).buffer(saved).then((b) => b.length).catch(String).then((x) => console.log('saved', x)))
    await other.removeImage('hakuriver/exp2:base')
    console.log((await other.listImages()).map(({ id }) => id.slice(7, 19)))
    await tryIt(2)
    await other.removeImage('hakuriver/exp2:base')
    await tryIt(1)
    await other.removeImage('hakuriver/exp2:base')
    await tryIt(0)
    await new Promise((r) => setTimeout(r, 300))
  } finally {
    await source.stop(); await target.stop(); await database.destroy()
  }
})
