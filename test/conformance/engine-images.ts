import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createId } from '#core/ids.ts'
import type { TransferProgress } from '#core/engine/engine.ts'
import { startRegistry, type TestRegistry } from '#test/support/registry.ts'
import { type EngineBench, outputOf } from './engine-bench.ts'

export function imageCases(use: () => EngineBench): void {
  const commitOptions = (repository: string) => ({ repository, tag: 'one', author: 'Somebody <x@y>', comment: 'a "comment"' })

  /** An image with a file of its own. */
  async function makeImage(content: string, image = use().image): Promise<{ id: string; repository: string; reference: string; container: string }> {
    const { engine, run, imageName } = use()
    const name = imageName()
    const container = await run(['/bin/sh', '-c', `echo ${content} >> /content`], { image, labels: { 'some.label': 'x' } })
    await engine.waitContainer(container)
    return { ...name, container, id: await engine.commitContainer(container, commitOptions(name.repository)) }
  }

  it('are made of containers', async () => {
    const { engine, run, image } = use()
    const { id, reference } = await makeImage('made')
    const base = await engine.inspectImage(image)
    const made = await engine.inspectImage(reference)
    expect(made).toMatchObject({ id, tags: [reference], labels: { 'some.label': 'x' }, architecture: base?.architecture, os: 'linux' })
    expect(made?.layers.slice(0, -1)).toEqual(base?.layers)
    expect(made?.layers.at(-1)).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(made?.config).toMatchObject({ Entrypoint: ['/bin/sh'] })
    expect((await outputOf(engine, await run(['/bin/cat', '/content'], { image: id }))).stdout).toBe('made\n')
  })

  it('are all listed, with their labels, under the ids that inspection knows', async () => {
    const { engine } = use()
    const { id } = await makeImage('listed')
    const images = await engine.listImages()
    expect(images.find((image) => image.id === id)).toEqual({ id, labels: expect.objectContaining({ 'some.label': 'x' }) })
  })

  it('of a running container are made without a pause', async () => {
    const { engine, run, imageName } = use()
    const container = await run(['/bin/sleep', 'infinity'])
    const { repository } = imageName()
    await engine.commitContainer(container, commitOptions(repository))
    expect((await engine.inspectContainer(container))?.status).toBe('running')
  })

  it('that are not there are undefined, or no reference at all', async () => {
    const { engine } = use()
    expect(await engine.inspectImage('hk-no-such-image:ever')).toBeUndefined()
    expect(await engine.inspectImage('../containers')).toBeUndefined()
    await engine.removeImage('hk-no-such-image:ever')
    await expect(engine.commitContainer('hk-no-such-container', commitOptions('x'))).rejects.toMatchObject({ code: 'container.not_found' })
    await expect(engine.tagImage('hk-no-such-image:ever', 'x', 'y')).rejects.toMatchObject({ code: 'image.not_found' })
    await expect(engine.saveImage('hk-no-such-image:ever').then(buffer)).rejects.toMatchObject({ code: 'image.not_found' })
  })

  it('lose one tag after the other, then go', async () => {
    const { engine, imageName } = use()
    const { id, reference } = await makeImage('tagged')
    const second = imageName()
    await engine.tagImage(id, second.repository, 'one')
    expect((await engine.inspectImage(id))?.tags.toSorted()).toEqual([reference, second.reference].toSorted())
    await engine.removeImage(reference)
    expect((await engine.inspectImage(id))?.tags).toEqual([second.reference])
    await engine.removeImage(second.reference)
    await engine.removeImage(second.reference)
    expect(await engine.inspectImage(second.reference)).toBeUndefined()
  })

  it('that a running container uses stay', async () => {
    const { engine, run } = use()
    const { id } = await makeImage('used')
    await run(['/bin/sleep', 'infinity'], { image: id })
    await expect(engine.removeImage(id)).rejects.toMatchObject({ code: 'engine.conflict' })
    expect(await engine.inspectImage(id)).toBeDefined()
  })

  it('take no image of somebody else with them', async (context) => {
    const { engine, forgetLater } = use()
    if ((await engine.info()).usesContainerdStore) context.skip('the containerd store knows no parents')
    const parent = await makeImage('parent')
    const child = await makeImage('child', parent.reference)
    for (const { container } of [child, parent]) await engine.removeContainer(container)
    forgetLater(parent.id)
    await engine.removeImage(parent.reference)
    await engine.removeImage(child.reference)
    expect(await engine.inspectImage(child.id)).toBeUndefined()
    expect(await engine.inspectImage(parent.id)).toMatchObject({ tags: [] })
  })

  it('come back from an archive', async () => {
    const { engine, run } = use()
    const { id, reference, container } = await makeImage('archived')
    const archive = await buffer(await engine.saveImage(reference))
    await engine.removeContainer(container)
    await engine.removeImage(reference)
    expect(await engine.loadImage(Readable.from(pieces(archive)))).toEqual([reference])
    expect((await engine.inspectImage(reference))?.id).toBe(id)
    expect((await outputOf(engine, await run(['/bin/cat', '/content'], { image: reference }))).stdout).toBe('archived\n')
  })

  it('come back from an archive without a name', async () => {
    const { engine, forgetLater } = use()
    const { id, reference, container } = await makeImage('nameless')
    forgetLater(id)
    const archive = await buffer(await engine.saveImage(id))
    await engine.removeContainer(container)
    await engine.removeImage(reference)
    const loaded = await engine.loadImage(Readable.from(pieces(archive)))
    expect(loaded).toHaveLength(1)
    expect((await engine.inspectImage(loaded[0] ?? ''))?.layers.length).toBeGreaterThan(1)
  })

  it.each(['dies', 'is given up', 'is cut'] as const)('do not come from an archive that %s in the middle', async (how) => {
    const { engine } = use()
    const { reference, container } = await makeImage(`broken-${createId()}`)
    const archive = await buffer(await engine.saveImage(reference))
    await engine.removeContainer(container)
    await engine.removeImage(reference)
    const controller = new AbortController()
    const half = [...pieces(archive.subarray(0, archive.length / 2))]
    const source = Readable.from((async function* () {
      yield* half
      if (how === 'dies') throw new Error('the disk has gone')
      if (how === 'is given up') {
        controller.abort(new Error('given up'))
        await new Promise(() => undefined)
      }
    })())
    const words = { dies: 'the disk has gone', 'is given up': 'given up', 'is cut': /./ }[how]
    await expect(engine.loadImage(source, { signal: controller.signal })).rejects.toThrow(words)
    expect(await engine.inspectImage(reference)).toBeUndefined()
  })

  it('do not come from anything else', async () => {
    const { engine } = use()
    await expect(engine.loadImage(Readable.from([Buffer.alloc(20_000, 'no archive')]))).rejects.toMatchObject({ name: 'HakuError' })
  })

  it('can be saved until one gives up', async () => {
    const { engine, image } = use()
    const controller = new AbortController()
    const stream = await engine.saveImage(image, { signal: controller.signal })
    const read = async () => {
      for await (const piece of stream) if (String(piece).length > 0) controller.abort(new Error('given up'))
    }
    await expect(read()).rejects.toThrow('given up')
  })

  pullCases(use)
}

// --- internal ---

function pullCases(use: () => EngineBench): void {
  let registry: TestRegistry
  beforeAll(async () => {
    const architecture = (await use().engine.inspectImage(use().image))?.architecture ?? ''
    registry = await startRegistry(architecture)
  })
  afterAll(() => registry.close())

  it('come from a registry, with progress', async () => {
    const { engine, forgetLater } = use()
    const reference = `${registry.address}/tool:one`
    const seen: TransferProgress[] = []
    await engine.pullImage(reference, { onProgress: (progress) => seen.push(progress) })
    forgetLater(reference)
    expect(await engine.inspectImage(reference)).toMatchObject({ tags: [reference] })
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.every(({ bytes, totalBytes }) => bytes <= totalBytes)).toBe(true)
    expect(seen.some(({ message }) => message.includes('tool'))).toBe(true)
  })

  it('that the registry lacks are not found', async () => {
    const { engine } = use()
    for (const name of ['ghost:one', 'tool:two', 'tool']) {
      await expect(engine.pullImage(`${registry.address}/${name}`, {})).rejects.toMatchObject({ code: 'image.not_found' })
    }
  })

  it('of a registry that does not answer can not be pulled', async () => {
    const { engine } = use()
    await expect(engine.pullImage('127.0.0.1:1/tool:one', {})).rejects.toMatchObject({ code: 'image.pull_failed' })
    await expect(engine.pullImage('Not A Reference', {})).rejects.toMatchObject({ code: 'image.reference_invalid' })
  })

  it('are pulled until one gives up', async () => {
    const { engine } = use()
    const controller = new AbortController()
    const pulling = engine.pullImage(`${registry.address}/stuck:one`, { signal: controller.signal })
    registry.stuck.then(() => controller.abort(new Error('given up')), () => undefined)
    await expect(pulling).rejects.toThrow('given up')
  })
}

function* pieces(archive: Buffer): Generator<Buffer> {
  for (let offset = 0; offset < archive.length; offset += 65_536) yield archive.subarray(offset, offset + 65_536)
}
