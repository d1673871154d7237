import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hostApi, type HostApi } from '#core/api/host.ts'
import { runnerApi } from '#core/api/runner.ts'
import { type Client, createClient } from '#core/client/client.ts'

let server: Server
let client: Client<HostApi>
let asked: string[]
let answer: (response: ServerResponse) => void

beforeEach(async () => {
  asked = []
  answer = (response) => void response.end('{"items":[],"nextCursor":null}')
  server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    answer(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  client = createClient({ api: hostApi, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'a token', unreachable: 'host.unreachable' })
})
afterEach(async () => {
  client.close()
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

describe('a call', () => {
  it('escapes what stands in its path and its query, and leaves out what is not given', async () => {
    await client.call('listTasks', { query: { environment: 'ä &=?#/', node: undefined, limit: 5 } })
    await client.call('removeNode', { params: { hostname: '../x y' } })
    expect(asked).toEqual(['GET /api/tasks?environment=%C3%A4+%26%3D%3F%23%2F&limit=5', 'DELETE /api/nodes/..%2Fx%20y'])
  })

  it('reaches a server by its IPv6 address', async () => {
    const six = createServer((_, response) => response.end('{"items":[]}')).listen(0, '::1')
    await once(six, 'listening')
    const other = createClient({ api: hostApi, url: `http://[::1]:${(six.address() as AddressInfo).port}`, token: undefined, unreachable: 'host.unreachable' })
    expect(await other.call('listNodes', {})).toEqual({ items: [] })
    other.close()
    six.close()
    await once(six, 'close')
  })

  it.each<[string, (response: ServerResponse) => void]>([
    ['is cut in the middle of its answer', (response) => void response.writeHead(200, { 'content-length': 100 }).write('{"items":', () => response.destroy())],
    ['gets the beginning of an answer and nothing more', (response) => void response.writeHead(200, { 'content-length': 100 }).write('{"items":')],
    ['gets no answer', () => undefined],
  ])('that %s fails as one to a Host that is away', async (_, how) => {
    answer = how
    await expect(client.call('listTasks', { timeoutMs: 200 })).rejects.toMatchObject({ code: 'host.unreachable' })
  })

  it.each(['', '<html>', 'null', '{}', '{"items":[{}],"nextCursor":null}', '{"items":[],"nextCursor":7}'])('that is answered with %j fails, and says by whom', async (text) => {
    answer = (response) => void response.end(text)
    await expect(client.call('listTasks', {})).rejects.toMatchObject({ code: 'internal.error', message: expect.stringMatching(/^The Host at http:\/\/127\.0\.0\.1:\d+ gave an answer that is not understood: .+\. Is it a HakuRiver of this version\?$/) as unknown })
  })

  it('to a node that is away names it, and is not taken for one to a Host that is', async () => {
    const port = (server.address() as AddressInfo).port
    server.close()
    server.closeAllConnections()
    const node = createClient({ api: runnerApi, url: `http://127.0.0.1:${port}`, token: 'a token', peer: 'node1', unreachable: 'node.unreachable' })
    await expect(node.call('pauseTask', { params: { id: 'x' }, body: { instance: 1 } })).rejects.toMatchObject({ code: 'node.unreachable', kind: 'unavailable', message: `The node node1 at http://127.0.0.1:${port} does not answer: ECONNREFUSED. Is its Runner running? Start it on the node, and try again; "hakuriver.client nodes" shows when it was last heard of.` })
    node.close()
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  })

  it('ends with the reason of its signal, also while it reads the answer', async () => {
    const stopping = new AbortController()
    answer = (response) => void response.writeHead(200, { 'content-length': 100 }).write('{"items":', () => stopping.abort(new Error('enough')))
    await expect(client.call('listTasks', { signal: stopping.signal })).rejects.toThrow('enough')
  })
})
