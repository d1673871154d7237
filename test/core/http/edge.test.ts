import { once } from 'node:events'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { createApp, createRouter } from 'h3'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { defineEndpoints } from '#core/api/endpoint.ts'
import { nodeName, text as plainText } from '#core/api/schemas.ts'
import { createClient } from '#core/client/client.ts'
import { HakuError } from '#core/errors.ts'
import { defineEndpoint, defineSocketEndpoint } from '#core/http/endpoint-handler.ts'
import { type Edge, startEdge } from '#core/http/edge.ts'
import { TERMINAL_PROTOCOL, TOKEN_PROTOCOL_PREFIX } from '#core/terminal/protocol.ts'

const api = defineEndpoints({
  open: { method: 'GET', path: '/api/open', summary: 'open', role: 'public', response: { status: 200, body: z.object({ ok: z.boolean() }) }, errors: [] },
  echo: { method: 'POST', path: '/api/echo/{name}', summary: 'echo', role: 'admin', params: z.strictObject({ name: z.string().max(5) }), body: z.strictObject({ text: z.string() }), maxBodyBytes: 100, response: { status: 201, body: z.object({ text: z.string() }) }, errors: [] },
  named: { method: 'POST', path: '/api/named', summary: 'values by their names', role: 'admin', body: z.record(plainText, z.string()), response: { status: 204 }, errors: [] },
  hold: { method: 'GET', path: '/api/hold', summary: 'held until the server stops', role: 'admin', response: { status: 200, body: z.object({ ended: z.boolean() }) }, errors: [] },
  broken: { method: 'GET', path: '/api/broken', summary: 'throws', role: 'admin', response: { status: 200, body: z.object({}) }, errors: [] },
  upload: { method: 'POST', path: '/api/upload', summary: 'counts', role: 'admin', upload: ['application/x-tar', 'application/octet-stream'], maxBodyBytes: 5_000_000, response: { status: 201, body: z.object({ bytes: z.number() }) }, errors: [] },
  refuse: { method: 'POST', path: '/api/refuse', summary: 'reads a little', role: 'admin', upload: ['application/x-tar'], maxBodyBytes: 1e12, response: { status: 201, body: z.object({}) }, errors: [] },
  node: { method: 'GET', path: '/api/nodes/{hostname}', summary: 'one node', role: 'admin', params: z.strictObject({ hostname: nodeName }), response: { status: 200, body: z.object({}) }, errors: [] },
  socket: { method: 'GET', path: '/api/socket', summary: 'socket', role: 'admin', query: z.strictObject({ columns: z.coerce.number().int() }), response: { status: 101, socket: 'test' }, errors: [] },
})
const SECRET = 'admin-secret'

let edge: Edge
let onHold: () => void
beforeEach(async () => {
  const router = createRouter()
    .get('/api/open', defineEndpoint(api.open, () => ({ ok: true })))
    .post('/api/echo/:name', defineEndpoint(api.echo, ({ body, params, user }) => ({ text: `${params.name} ${body.text}${user && ` from ${user}`}` })))
    .post('/api/named', defineEndpoint(api.named, () => undefined))
    .get('/api/hold', defineEndpoint(api.hold, ({ signal }) => new Promise((resolve) => {
      onHold()
      signal.addEventListener('abort', () => resolve({ ended: true }), { once: true })
    })))
    .get('/api/broken', defineEndpoint(api.broken, () => {
      throw new Error('secret detail')
    }))
    .get('/api/nodes/:hostname', defineEndpoint(api.node, () => ({})))
    .post('/api/upload', defineEndpoint(api.upload, async ({ upload }) => {
      let bytes = 0
      for await (const chunk of upload as AsyncIterable<Buffer>) bytes += chunk.length
      return { bytes }
    }))
    .post('/api/refuse', defineEndpoint(api.refuse, async ({ upload }) => {
      for await (const chunk of upload as AsyncIterable<Buffer>) throw new HakuError('import.refused', `no more than ${chunk.length > 0 ? 'a little' : 'nothing'}`)
      return {}
    }))
    .get('/api/socket', defineSocketEndpoint(api.socket, (socket, { query }) => {
      socket.on('message', (data, isBinary) => socket.send(`${query.columns} ${isBinary} ${String(data)}`))
    }))
  const app = createApp()
  app.use(router)
  edge = await startEdge({ app, api, tokens: () => ({ admin: SECRET, runner: 'runner-secret' }), allowedHosts: ['my.lab'], host: '127.0.0.1', port: 0, name: 'Host', receiveMs: 500 })
})
afterEach(() => edge.close(0))

interface Answer {
  status: number
  body: { code?: string; detail?: string; [key: string]: unknown }
  headers: IncomingHttpHeaders
}

function call(method: string, path: string, options: { headers?: Record<string, string | string[]>; body?: string } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(edge.url, { path, method, headers: { authorization: `Bearer ${SECRET}`, ...(options.body !== undefined && { 'content-type': 'application/json' }), ...options.headers } }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) as Answer['body'] }))
    })
    outgoing.on('error', reject)
    outgoing.end(options.body)
  })
}

describe('credentials', () => {
  it('tells a route who calls, whatever the name', async () => {
    const echoAs = async (user?: string) => {
      const client = createClient({ api, url: edge.url, token: SECRET, unreachable: 'host.unreachable', ...(user !== undefined && { user }) })
      const { text } = await client.call('echo', { params: { name: 'x' }, body: { text: 'y' } })
      client.close()
      return text
    }
    expect([await echoAs('Jörg Ä'), await echoAs()]).toEqual(['x y from Jörg Ä', 'x y'])
  })

  it('lets everybody see what is public, and nothing else', async () => {
    expect(await call('GET', '/api/open', { headers: { authorization: '' } })).toMatchObject({ status: 200, body: { ok: true } })
    for (const path of ['/api/echo/x', '/api/nothing', '/', '/api/open/../echo/x', '/api//open']) {
      expect(await call('POST', path, { headers: { authorization: '' }, body: '{}' }), path).toMatchObject({ status: 401, body: { code: 'auth.required' } })
    }
  })

  it('tells a wrong token from a wrong role', async () => {
    expect(await call('GET', '/api/hold', { headers: { authorization: 'Bearer nonsense' } })).toMatchObject({ status: 401, body: { code: 'auth.invalid_token' }, headers: { 'www-authenticate': expect.stringContaining('Bearer') } })
    expect(await call('GET', '/api/hold', { headers: { authorization: 'Bearer runner-secret' } })).toMatchObject({ status: 403, body: { code: 'auth.role_refused' } })
  })

  it('refuses a token in a URL and does not repeat it', async () => {
    const answer = await call('GET', `/api/hold?token=${SECRET}`)
    expect(answer).toMatchObject({ status: 401, body: { code: 'auth.token_in_url' } })
    expect(JSON.stringify(answer.body)).not.toContain(SECRET)
  })
})

describe('requests', () => {
  it('have some time to arrive, and as much as they want if they are uploads', async () => {
    const begin = (path: string, type: string) => {
      const { hostname, port } = new URL(edge.url)
      const socket = connect(Number(port), hostname)
      socket.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${SECRET}\r\nContent-Type: ${type}\r\nContent-Length: 20\r\n\r\n{"te`)
      return socket
    }
    const upload = begin('/api/upload', 'application/x-tar')
    const slow = begin('/api/echo/x', 'application/json')
    await once(slow.resume().on('error', () => undefined), 'close')
    upload.write('0123456789012345')
    const [answer] = (await once(upload, 'data')) as [Buffer]
    expect(answer.toString()).toContain('"bytes":20')
    upload.destroy()
  })

  it('parses path and body', async () => {
    expect(await call('POST', '/api/echo/%C3%A4b', { body: '{"text":"hi"}' })).toMatchObject({ status: 201, body: { text: 'äb hi' } })
  })

  it.each(['-a', 'a_', '%C3%A4', 'x'.repeat(64)])('%s is no name of a node', async (name) => {
    expect(await call('GET', `/api/nodes/${name}`)).toMatchObject({ status: 400, body: { code: 'node.name_invalid' } })
  })

  it.each([
    ['{bad', 400, 'request.invalid_json'],
    ['{"text":1}', 400, 'request.invalid'],
    ['{"text":"x","more":1}', 400, 'request.invalid'],
    [`{"text":"${'x'.repeat(100)}"}`, 413, 'request.body_too_large'],
    ['['.repeat(90), 400, 'request.invalid_json'],
    ['', 400, 'request.invalid_json'],
  ])('body %j → %d %s', async (body, status, code) => {
    expect(await call('POST', '/api/echo/x', { body })).toMatchObject({ status, body: { code } })
  })

  it('tells what is wrong with the name of a value', async () => {
    expect(await call('POST', '/api/named', { body: '{"a\\u0000":"x"}' })).toMatchObject({ status: 400, body: { code: 'request.invalid', issues: [{ message: 'contains a NUL character' }] } })
  })

  it('counts a body without a length too', async () => {
    expect(await call('POST', '/api/echo/x', { headers: { 'transfer-encoding': 'chunked' }, body: `{"text":"${'x'.repeat(200)}"}` })).toMatchObject({ status: 413 })
  })

  it.each(['text/plain', '', 'application/x-www-form-urlencoded', 'application/jsonx'])('content type %j is refused', async (type) => {
    expect(await call('POST', '/api/echo/x', { body: '{"text":"hi"}', headers: { 'content-type': type } })).toMatchObject({ status: 415, body: { code: 'request.content_type' } })
  })

  it('takes JSON with a charset, strictly', async () => {
    expect(await call('POST', '/api/echo/x', { body: '{bad', headers: { 'content-type': 'application/json; charset=utf-8' } })).toMatchObject({ status: 400, body: { code: 'request.invalid_json' } })
  })

  it('tells unknown paths from unknown methods', async () => {
    expect(await call('GET', '/api/nothing')).toMatchObject({ status: 404, body: { code: 'endpoint.not_found' }, headers: { 'content-type': 'application/problem+json' } })
    expect(await call('DELETE', '/api/open')).toMatchObject({ status: 405, body: { code: 'request.method_not_allowed' } })
  })

  it.each(['/api/./open', '/api/nodes/./x', '/api/nodes/%2e/x', '/api/nodes/x/../y', '/api/nodes\\x', '/api/nodes/x#y'])('reads no path as another than it is sent: %s', async (path) => {
    expect(await call('GET', path)).toMatchObject({ status: 404, body: { code: 'endpoint.not_found' } })
  })

  it('keeps the inside of an error inside', async () => {
    const answer = await call('GET', '/api/broken')
    expect(answer).toMatchObject({ status: 500, body: { code: 'internal.error' } })
    expect(JSON.stringify(answer.body)).not.toContain('secret detail')
  })
})

describe('uploads', () => {
  const client = (token = SECRET) => createClient({ api, url: edge.url, token, unreachable: 'host.unreachable' })
  async function* chunks(count: number, onChunk: () => void = () => {}): AsyncGenerator<Buffer> {
    for (let index = 0; index < count; index++) {
      onChunk()
      yield Buffer.alloc(100_000)
    }
  }
  const upload = (count: number, onChunk?: () => void) => Readable.from(chunks(count, onChunk), { objectMode: false })

  it('come as they are sent', async () => {
    expect(await client().call('upload', { upload: upload(50) })).toEqual({ bytes: 5_000_000 })
    expect(await call('POST', '/api/upload', { body: 'x', headers: { 'content-type': 'application/octet-stream' } })).toMatchObject({ status: 201, body: { bytes: 1 } })
  })

  it.each(['application/json', 'text/plain', 'multipart/form-data', 'application/x-tarball', ''])('as %j are refused', async (type) => {
    expect(await call('POST', '/api/upload', { body: '{}', headers: { 'content-type': type } })).toMatchObject({ status: 415, body: { code: 'request.content_type' } })
  })

  it('of another page, or without a credential, are refused', async () => {
    const headers = { 'content-type': 'application/x-tar' }
    expect(await call('POST', '/api/upload', { body: 'x', headers: { ...headers, origin: 'https://evil.example' } })).toMatchObject({ status: 403 })
    expect(await call('POST', '/api/upload', { body: 'x', headers: { ...headers, authorization: '' } })).toMatchObject({ status: 401 })
  })

  it('over their limit are refused, with and without a length', async () => {
    await expect(client().call('upload', { upload: upload(60) })).rejects.toMatchObject({ code: 'request.body_too_large' })
    expect(await call('POST', '/api/upload', { body: 'x'.repeat(5_000_001), headers: { 'content-type': 'application/x-tar' } })).toMatchObject({ status: 413 })
  })

  it('are told why they are refused in the middle, and are not sent to their end', async () => {
    let sent = 0
    await expect(client().call('refuse', { upload: upload(10_000, () => sent++) })).rejects.toMatchObject({ code: 'import.refused', message: 'no more than a little' })
    expect(sent).toBeLessThan(2000)
    await expect(client('nonsense').call('upload', { upload: upload(10_000) })).rejects.toMatchObject({ code: 'auth.invalid_token' })
    // The server goes on.
    expect(await client().call('upload', { upload: upload(1) })).toEqual({ bytes: 100_000 })
  })

  it('that their source fails tell its error', async () => {
    const source = Readable.from((async function* () {
      yield Buffer.alloc(100_000)
      throw new Error('the disk broke')
    })(), { objectMode: false })
    await expect(client().call('upload', { upload: source })).rejects.toThrow('the disk broke')
  })
})

describe('where requests come from', () => {
  it.each([['evil.example', 421], ['a b', 421], ['my.lab', 200], ['my.lab:8000', 200], ['127.0.0.1:1', 200], ['[::1]:8000', 200], ['localhost', 200]])('Host %j → %d', async (host, status) => {
    expect((await call('GET', '/api/open', { headers: { host } })).status).toBe(status)
  })

  it('names the cure for a Host that is not known', async () => {
    expect(await call('GET', '/api/open', { headers: { host: 'evil.example' } })).toMatchObject({ body: { code: 'request.unknown_host', detail: expect.stringContaining('network.allowed_hosts') as unknown } })
  })

  it('answers two Host headers with 400 or 421', async () => {
    const answer = await raw('GET /api/open HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    expect(answer).toMatch(/^HTTP\/1\.1 4(00|21)/)
  })

  it.each(['https://evil.example', 'null'])('Origin %s is refused', async (origin) => {
    expect(await call('POST', '/api/echo/x', { headers: { origin }, body: '{"text":"hi"}' })).toMatchObject({ status: 403, body: { code: 'request.origin_refused' } })
  })
})

describe('WebSockets', () => {
  const open = (path: string, options: { headers?: Record<string, string>; protocols?: string[] } = {}) =>
    new WebSocket(`${edge.url.replace('http', 'ws')}${path}`, options.protocols ?? [TERMINAL_PROTOCOL], { headers: { authorization: `Bearer ${SECRET}`, ...options.headers } })

  it('connects the parsed request with its socket', async () => {
    const socket = open('/api/socket?columns=7')
    const message = await new Promise<string>((resolve, reject) => {
      socket.on('open', () => socket.send('hi')).on('message', (data) => resolve(String(data))).on('error', reject)
    })
    expect(message).toBe('7 false hi')
    socket.terminate()
  })

  it('takes the credential of a browser from a sub-protocol', async () => {
    const socket = open('/api/socket?columns=7', { headers: { authorization: '' }, protocols: [TERMINAL_PROTOCOL, `${TOKEN_PROTOCOL_PREFIX}${SECRET}`] })
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
    expect(socket.protocol).toBe(TERMINAL_PROTOCOL)
    socket.terminate()
  })

  it.each([
    ['/api/socket?columns=7', { authorization: '' }, 401],
    ['/api/socket?columns=7', { origin: 'https://evil.example' }, 403],
    ['/api/socket?columns=7', { host: 'evil.example' }, 421],
    ['/api/socket?columns=x', {}, 400],
    ['/api/nope', {}, 404],
    ['/api/open', {}, 404],
  ])('refuses %s with %j before the upgrade: %d', async (path, headers, status) => {
    const refused = await new Promise<number>((resolve, reject) => {
      open(path, { headers: headers as Record<string, string> }).on('unexpected-response', (_, response) => resolve(response.statusCode ?? 0)).on('open', () => reject(new Error('was upgraded'))).on('error', reject)
    })
    expect(refused).toBe(status)
  })

  it('closes on a message that is too big, with 1009', async () => {
    const socket = open('/api/socket?columns=7')
    const code = await new Promise<number>((resolve) => {
      socket.on('open', () => socket.send(Buffer.alloc(200_000))).on('close', resolve)
    })
    expect(code).toBe(1009)
  })

  it('a plain request to it is answered', async () => {
    expect(await call('GET', '/api/socket?columns=7')).toMatchObject({ status: 400, body: { code: 'request.upgrade_required' } })
  })
})

describe('stopping', () => {
  it('lets held requests answer, closes sockets with 1012, and refuses new ones', async () => {
    const held = new Promise<void>((resolve) => {
      onHold = resolve
    })
    const answer = call('GET', '/api/hold')
    await held
    const socket = new WebSocket(`${edge.url.replace('http', 'ws')}/api/socket?columns=7`, [TERMINAL_PROTOCOL], { headers: { authorization: `Bearer ${SECRET}` } })
    await new Promise((resolve) => socket.on('open', resolve))
    const closed = new Promise<number>((resolve) => socket.on('close', resolve))
    const stopped = edge.close(10_000)
    expect(await answer).toMatchObject({ status: 200, body: { ended: true } })
    expect(await closed).toBe(1012)
    await stopped
    await expect(call('GET', '/api/open')).rejects.toThrow('ECONNREFUSED')
  })

  it('names the port that is in use', async () => {
    const port = Number(new URL(edge.url).port)
    await expect(startEdge({ app: createApp(), api, tokens: () => ({}), allowedHosts: [], host: '127.0.0.1', port, name: 'Host' })).rejects.toThrow(`127.0.0.1:${port}: another process listens there`)
  })
})

function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const { hostname, port } = new URL(edge.url)
    const socket = connect(Number(port), hostname, () => socket.end(text))
    socket.on('data', (chunk) => (answer += String(chunk))).on('close', () => resolve(answer)).on('error', reject)
  })
}
