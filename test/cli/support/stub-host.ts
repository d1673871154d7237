import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Endpoint } from '#core/api/endpoint.ts'
import { type HostApi, hostApi } from '#core/api/host.ts'
import { createMatcher } from '#core/api/match.ts'
import { HakuError } from '#core/errors.ts'
import { problemOf, sendProblem } from '#core/http/problems.ts'
import { TERMINAL_PROTOCOL } from '#core/terminal/protocol.ts'

export interface StubRequest {
  id: keyof HostApi
  params: Record<string, string>
  query: URLSearchParams
  body: unknown
  headers: IncomingHttpHeaders
  response: ServerResponse
}

/** Answers one endpoint: returns the body, throws the refusal, or writes to `response` itself and returns nothing. */
export type StubAnswer = (request: StubRequest) => unknown

export interface StubHost {
  url: string
  token: string
  /** What came in, in order. */
  requests: Pick<StubRequest, 'id' | 'params' | 'body'>[]
  /** The environment of a program that talks to this Host. */
  env: NodeJS.ProcessEnv
  /** Takes no more connections, and cuts those there are. */
  stop(): void
}

export interface StubOptions {
  answers?: Partial<Record<keyof HostApi, StubAnswer>>
  /** Speaks for a shell. */
  terminal?: (socket: WebSocket, query: URLSearchParams, name: string) => void
  /** Refuses the upgrade with this. */
  refuseTerminal?: HakuError
}

/** A model of the Host that speaks the contract (paths, tokens, checked bodies, problems) and answers as the test says. */
export async function startStubHost({ answers = {}, terminal, refuseTerminal }: StubOptions = {}): Promise<StubHost> {
  const token = 'stub-token'
  const requests: StubHost['requests'] = []
  const match = createMatcher(hostApi)
  const ids = new Map<Endpoint, keyof HostApi>(Object.entries(hostApi).map(([id, endpoint]) => [endpoint, id as keyof HostApi]))

  function admit(request: IncomingMessage) {
    const url = new URL(request.url ?? '/', 'http://stub')
    const found = match(request.method ?? '', url.pathname)
    if (typeof found === 'string') throw new HakuError('endpoint.not_found', `no ${url.pathname}`)
    if (found.endpoint.role !== 'public' && request.headers.authorization !== `Bearer ${token}`) throw new HakuError('auth.invalid_token', 'The token is not known here.')
    const id = ids.get(found.endpoint)
    if (!id) throw new Error('an endpoint without id')
    return { id, endpoint: found.endpoint, params: found.params, query: url.searchParams }
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { id, endpoint, params, query } = admit(request)
    const body: unknown = endpoint.upload ? await buffer(request) : endpoint.body?.parse(JSON.parse(await readText(request)))
    endpoint.query?.parse(Object.fromEntries(query))
    requests.push({ id, params, body })
    const handler = answers[id]
    if (!handler) throw new Error(`the test answers no ${id}`)
    const result = await handler({ id, params, query, body, headers: request.headers, response })
    if (result !== undefined) response.writeHead(endpoint.response.status, { 'content-type': 'application/json' }).end(JSON.stringify(result))
    else if (endpoint.response.status === 204) response.writeHead(204).end()
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => sendProblem(response, error))
  })
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (protocols) => (protocols.has(TERMINAL_PROTOCOL) ? TERMINAL_PROTOCOL : false) })
  server.on('upgrade', (request, socket, head) => {
    try {
      const { params, query } = admit(request)
      if (refuseTerminal) throw refuseTerminal
      sockets.handleUpgrade(request, socket, head, (webSocket) => terminal?.(webSocket, query, params['name'] ?? ''))
    } catch (error) {
      const problem = problemOf(error)
      socket.end(`HTTP/1.1 ${problem.status} no\r\nContent-Type: application/problem+json\r\nConnection: close\r\n\r\n${JSON.stringify(problem)}`)
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(async () => {
    for (const client of sockets.clients) client.terminate()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const stop = () => {
    server.close()
    server.closeAllConnections()
  }
  return { stop, url: `http://127.0.0.1:${port}`, token, requests, env: { HAKURIVER_NETWORK_HOST_PORT: String(port), HAKURIVER_TOKEN: token } }
}

/** Writes one server-sent event. */
export function sendEvent(response: ServerResponse, data: unknown): void {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(`data: ${JSON.stringify(data)}\n\n`)
}

// --- internal ---

async function readText(request: IncomingMessage): Promise<string> {
  request.setEncoding('utf8')
  let text = ''
  for await (const chunk of request as AsyncIterable<string>) text += chunk
  return text
}
