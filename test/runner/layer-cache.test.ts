import { mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type LayerCache, openLayerCache } from '#runner/sync/sharing/layer-cache.ts'
import { digestOf } from '../support/bytes.ts'
import { createSharedLayers } from '#runner/sync/sharing/shared-layers.ts'

describe('the layers that a node keeps for others', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-layers-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const layer = (letter: string) => Buffer.from(letter.repeat(1000))

  async function keep(cache: LayerCache, content: Buffer): Promise<string> {
    const digest = digestOf(content)
    const file = await cache.create(digest)
    await file.write(content.subarray(0, 300))
    await file.write(content.subarray(300))
    expect(await file.complete()).toBe(true)
    return digest
  }

  it('come back whole, after a restart too', async () => {
    const digest = await keep(await openLayerCache(directory, 10_000), layer('a'))
    const cache = await openLayerCache(directory, 10_000)
    expect(cache.list()).toEqual([digest])
    const stream = await cache.open(digest)
    expect(stream && (await buffer(stream)).equals(layer('a'))).toBe(true)
    expect(await cache.open(digestOf(layer('b')))).toBeUndefined()
  })

  it('are there only once complete, and only what they should be', async () => {
    const cache = await openLayerCache(directory, 10_000)
    const file = await cache.create(digestOf(layer('a')))
    await file.write(layer('b'))
    expect(cache.list()).toEqual([])
    expect(await file.complete()).toBe(false)
    const given = await cache.create(digestOf(layer('a')))
    await given.write(layer('a'))
    await given.abort()
    await given.abort()
    expect([cache.list(), readdirSync(directory)]).toEqual([[], []])
  })

  it('that a crash left half go at the next start', async () => {
    const cache = await openLayerCache(directory, 10_000)
    await (await cache.create(digestOf(layer('a')))).write(layer('a'))
    expect(readdirSync(directory)).toHaveLength(1)
    expect((await openLayerCache(directory, 10_000)).list()).toEqual([])
    expect(readdirSync(directory)).toEqual([])
  })

  it('go beyond the limit, the least recently used first', async () => {
    const cache = await openLayerCache(directory, 2500)
    const [first, second] = [await keep(cache, layer('a')), await keep(cache, layer('b'))]
    for (const [digest, seconds] of [[first, 100], [second, 200]] as const) utimesSync(join(directory, digest.slice(7)), seconds, seconds)
    const opened = await cache.open(first)
    expect(opened && (await buffer(opened)).equals(layer('a'))).toBe(true)
    const third = await keep(cache, layer('c'))
    expect(cache.list().toSorted()).toEqual([first, third].toSorted())
    expect(readdirSync(directory)).toHaveLength(2)
  })

  it('that somebody removed are not there', async () => {
    const cache = await openLayerCache(directory, 10_000)
    const digest = await keep(cache, layer('a'))
    rmSync(join(directory, digest.slice(7)))
    expect(await cache.open(digest)).toBeUndefined()
    expect(cache.list()).toEqual([])
    const layers = createSharedLayers({ cache, self: { hostname: 'a', instanceId: 'a' }, host: () => undefined })
    await expect(layers.open(digest)).rejects.toThrow(expect.objectContaining({ code: 'layer.not_found', message: expect.stringContaining(digest) as unknown }))
    writeFileSync(join(directory, 'foreign'), '')
  })

  it('stay while they can not be opened, which is told', async () => {
    const cache = await openLayerCache(directory, 10_000)
    const digest = await keep(cache, layer('a'))
    const file = join(directory, digest.slice(7))
    rmSync(file)
    symlinkSync(file, file)
    const told = vi.spyOn(console, 'error').mockReturnValue()
    expect(await cache.open(digest)).toBeUndefined()
    expect(told).toHaveBeenCalledWith(expect.stringMatching(`${digest}.*ELOOP`))
    expect(cache.list()).toEqual([digest])
    told.mockRestore()
  })
})
