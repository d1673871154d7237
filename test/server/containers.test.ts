import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createContainerBody, type Operation } from '#core/api/schemas.ts'
import type { ContainerDetails, ContainerSpec, Engine } from '#core/engine/engine.ts'
import { createId } from '#core/ids.ts'
import { openArchive } from '#server/environments/archive.ts'
import { createContainers } from '#server/environments/containers.ts'
import { engineMissing, testEngine } from '#test/support/engine.ts'
import { layerOf, publishVersion } from '#test/support/versions.ts'
import { createHostServices, type HostServices } from './support/host-services.ts'

let directory: string
let host: HostServices

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-containers-'))
  host = await createHostServices(directory)
})
afterEach(async () => {
  await host.close()
  rmSync(directory, { recursive: true })
})

/** One container on an Engine, which is in a certain state soon after its start; `ends`: with this code, seen by whoever waits. */
function engineWith({ ends, ...seen }: Partial<ContainerDetails> & { ends?: number }) {
  const containers = new Map<string, ContainerDetails>()
  const model: Partial<Engine> = {
    createContainer({ name, image, labels }: ContainerSpec) {
      containers.set(name, { id: name, name, image, labels, status: 'created', created: '2026-01-01T00:00:00.000Z', imageId: 'sha256:1', hostname: name, env: [], upperDir: undefined, exitCode: 0, restartCount: 0, outOfMemory: false, error: '', pid: 0, started: null, finished: null })
      return Promise.resolve(name)
    },
    startContainer(id) {
      const container = containers.get(id)
      if (container) containers.set(id, { ...container, status: 'running', ...seen })
      return Promise.resolve()
    },
    waitContainer: (_, { signal } = {}) => (ends === undefined ? new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error))) : Promise.resolve(ends)),
    inspectContainer: (id) => Promise.resolve(containers.get(id)),
    inspectImage: (reference) => Promise.resolve({ id: 'sha256:1', tags: [reference], labels: {}, config: {}, size: 1, architecture: 'amd64', variant: '', os: 'linux', layers: [] }),
    removeContainer: (id) => Promise.resolve(void containers.delete(id)),
  }
  return { engine: model as Engine, containers }
}

async function create(engine: Engine): Promise<Operation> {
  const containers = createContainers({ engine, operations: host.operations, allowedMounts: [] })
  return host.operations.get((await containers.create(createContainerBody.parse({ name: 'my-env', image: 'some:image' }))).id, 30)
}

describe('creating a container', () => {
  it('succeeds when it stays up', async () => {
    const { engine, containers } = engineWith({})
    expect(await create(engine)).toMatchObject({ state: 'succeeded', result: { name: 'my-env', status: 'running' } })
    expect([...containers.keys()]).toEqual(['my-env'])
  })

  // The restart policy starts again what can not run, and whoever waits for the end waits for ever.
  it.each<[string, Parameters<typeof engineWith>[0], string, RegExp]>([
    ['is started again and again without a shell', { status: 'restarting', exitCode: 127, restartCount: 3 }, 'container.no_shell', /"some:image" has no \/bin\/sh/],
    ['has a shell that can not be executed', { status: 'restarting', exitCode: 126 }, 'container.no_shell', /has no \/bin\/sh/],
    ['is started again and again', { status: 'restarting', exitCode: 1, restartCount: 3 }, 'container.exited', /ended at once with code 1\./],
    ['runs at this moment, for the third time', { status: 'running', restartCount: 2 }, 'container.exited', /ended at once\./],
    ['runs at this moment, after it was seen to end', { status: 'running', restartCount: 1, ends: 127 }, 'container.no_shell', /has no \/bin\/sh/],
    ['has ended', { status: 'exited', exitCode: 2, ends: 2 }, 'container.exited', /with code 2\./],
    ['has ended unseen', { status: 'exited', exitCode: 127 }, 'container.no_shell', /has no \/bin\/sh/],
  ])('fails when it %s, and leaves nothing', async (_, seen, code, message) => {
    const { engine, containers } = engineWith(seen)
    expect(await create(engine)).toMatchObject({ state: 'failed', error: { code, detail: expect.stringMatching(message) } })
    expect([...containers.keys()]).toEqual([])
    expect(await host.database.selectFrom('operations').select('undo').execute()).toEqual([{ undo: null }])
  })
})

describe.skipIf(engineMissing)('a container on a real Engine', () => {
  const engine = testEngine()
  const name = `containers-test-${createId().slice(-8)}`

  it.each([
    ['no shell', 'container.no_shell', layerOf({ 'bin/': '', 'bin/true': 'x' })],
    ['a shell that can not be executed', 'container.no_shell', layerOf({ 'bin/': '', 'bin/sh': 'not a program' })],
    ['a shell for another machine', 'container.exited', layerOf({ 'bin/': '', 'bin/sh': { mode: 0o755, content: Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]) } })],
  ])('of an image with %s is refused, and nothing is left', async (_, code, layer) => {
    const manifest = await publishVersion(host.tarballs, { environment: name, version: 10, layers: [layer] })
    const tag = `hakuriver/${name}:broken`
    await engine.loadImage(openArchive(host.tarballs, manifest, { tag }))
    try {
      const containers = createContainers({ engine, operations: host.operations, allowedMounts: [] })
      const { id } = await containers.create(createContainerBody.parse({ name, image: tag }))
      expect(await host.operations.get(id, 30)).toMatchObject({ state: 'failed', error: { code } })
      expect(await engine.inspectContainer(name)).toBeUndefined()
    } finally {
      await engine.removeImage(tag)
    }
  })
})
