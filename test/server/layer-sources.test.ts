import { EventEmitter } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import { HakuError } from '#core/errors.ts'
import { isTicketValid } from '#core/tickets.ts'
import { createLayerSources, type LayerSources } from '#server/dispatch/layer-sources.ts'
import type { NodeEvents, NodeRecord } from '#server/nodes/nodes.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`
const OTHER = `sha256:${'b'.repeat(64)}`

describe('where a node gets a layer from', () => {
  let events: EventEmitter<NodeEvents>
  let sources: LayerSources
  const signal = new AbortController().signal

  beforeEach(() => {
    events = new EventEmitter()
    const find = (hostname: string) => ({ hostname, url: `http://${hostname}:1`, hostToken: `token of ${hostname}`, online: true }) as NodeRecord
    const assertInstance = (hostname: string, instanceId: string) => {
      if (instanceId !== 'one') throw new HakuError('node.not_found', `${hostname} is another`)
    }
    sources = createLayerSources({ find, assertInstance, events })
  })

  const find = (hostname: string, { avoid = [] as string[], waitMs = 0, digest = DIGEST } = {}) => sources.find(hostname, digest, { instanceId: 'one', avoid }, { waitMs, signal })
  const has = (hostname: string, held: string[], wanted: string[] = []) => sources.tell(hostname, { instanceId: 'one', held, wanted })

  it('is the storage for the first, and the first for the others, once it has it', async () => {
    expect(await find('a')).toEqual({ from: 'storage' })
    expect(await find('b')).toEqual({ from: 'wait' })
    const waiting = find('c', { waitMs: 60_000 })
    has('a', [DIGEST])
    expect(await waiting).toMatchObject({ from: 'node', hostname: 'a', url: 'http://a:1' })
  })

  it('is a node with a ticket for this one layer, made with the secret of that node', async () => {
    has('a', [DIGEST])
    const source = await find('b')
    const ticket = source.from === 'node' ? source.ticket : ''
    expect(isTicketValid('token of a', `/api/layers/${encodeURIComponent(DIGEST)}`, ticket)).toBe(true)
    expect(isTicketValid('token of a', `/api/layers/${encodeURIComponent(OTHER)}`, ticket)).toBe(false)
    expect(isTicketValid('token of b', `/api/layers/${encodeURIComponent(DIGEST)}`, ticket)).toBe(false)
    expect(ticket).not.toContain('token')
  })

  it('spreads over those that have it, three at a time for each', async () => {
    has('a', [DIGEST])
    has('b', [DIGEST])
    const givers: string[] = []
    for (const taker of ['c', 'd', 'e', 'f', 'g', 'h']) {
      const source = await find(taker)
      givers.push(source.from === 'node' ? source.hostname : source.from)
    }
    expect(givers.toSorted()).toEqual(['a', 'a', 'a', 'b', 'b', 'b'])
    expect(await find('i')).toEqual({ from: 'wait' })
    has('c', [DIGEST])
    expect(await find('i')).toMatchObject({ hostname: 'c' })
  })

  it('is another one where a node was tried in vain, and the storage in the end', async () => {
    has('a', [DIGEST])
    has('b', [DIGEST])
    expect(await find('c', { avoid: ['a'] })).toMatchObject({ hostname: 'b' })
    expect(await find('c', { avoid: ['a', 'b'] })).toEqual({ from: 'storage' })
  })

  it.each(['gives up', 'goes offline', 'is started anew'])('is the storage for the next when the first one %s', async (how) => {
    expect(await find('a')).toEqual({ from: 'storage' })
    const waiting = find('b', { waitMs: 60_000 })
    if (how === 'gives up') has('a', [])
    else if (how === 'goes offline') events.emit('offline', { hostname: 'a' } as NodeRecord)
    else {
      has('a', [], [OTHER])
    }
    expect(await waiting).toEqual({ from: 'storage' })
  })

  it('does not wait for a node that gets another layer, nor for itself', async () => {
    expect(await find('a', { digest: OTHER })).toEqual({ from: 'storage' })
    expect(await find('b')).toEqual({ from: 'storage' })
    expect(await find('b')).toEqual({ from: 'storage' })
  })

  it('is not told to a Runner that has a successor', async () => {
    await expect(sources.find('a', DIGEST, { instanceId: 'two', avoid: [] }, { waitMs: 0, signal })).rejects.toThrow(expect.objectContaining({ code: 'node.not_found' }))
  })
})
