import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { toNodeListener, type App } from 'h3'
import { WebSocketServer } from 'ws'
import { HakuError, systemErrorCode } from '../errors.ts'
import { closeCodes, MAX_FRAME_BYTES, TERMINAL_PROTOCOL } from '../terminal/protocol.ts'
import { admitRequest, assertRequest, type SocketHandler } from './endpoint-handler.ts'
import { createGate, type GateOptions } from './gate.ts'
import { logUnexpected, problemOf, sendProblem, sendProblemEarly } from './problems.ts'
import { createRequestSignal, type RequestSignal } from './request-signal.ts'

/** The server's own bodies are small. */
const REQUEST_TIMEOUT_MS = 60_000
const SWEEP_MS = 5000
const HEADERS_TIMEOUT_MS = 15_000
/** Longer than any client's pause between two requests, so that a kept connection is not closed under a request. */
const KEEP_ALIVE_MS = 90_000
const MAX_SOCKETS = 512

export interface EdgeOptions extends GateOptions {
  app: App
  host: string
  port: number
  /** For messages: "Host" or "Runner". */
  name: string
  /** Receiving one request may take this long, unless it is an upload. Default: a minute. */
  receiveMs?: number
}

export interface Edge {
  /** `http://address:port` as bound. */
  readonly url: string
  /**
   * Ends all connections: no new ones, sockets closed with 1012, requests in flight get `graceMs` to end, then are cut.
   * Idempotent.
   */
  close(graceMs: number): Promise<void>
}

/**
 * Starts the one HTTP server of a process, with what a bare Nitro server lacks (reliability.md section 5) closed here:
 * the gate before every route and upgrade, time-outs, message limits, an order for stopping.
 *
 * WebSockets are served by `ws` itself: crossws 0.3 hides whether a message is text or binary and has no back-pressure.
 *
 * @throws a `HakuError` that names the port when it can not be bound
 */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const { receiveMs = REQUEST_TIMEOUT_MS } = options
  const gate = createGate(options)
  const listener = toNodeListener(options.app)
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES + 1024, perMessageDeflate: false, handleProtocols: (protocols) => (protocols.has(TERMINAL_PROTOCOL) ? TERMINAL_PROTOCOL : false) })
  let stopping = false
  const requests = new Map<IncomingMessage, RequestSignal>()

  const assertOpen = () => {
    if (stopping) throw new HakuError('host.stopping', `The ${options.name} is stopping. Try again when it is back.`)
  }

  const server = createServer((request, response) => {
    const over = createRequestSignal()
    requests.set(request, over)
    response.once('close', () => {
      requests.delete(request)
      over.end()
      // A kept connection that falls idle during the stop would hold it up.
      if (stopping) setImmediate(() => server.closeIdleConnections())
    })
    try {
      assertOpen()
      const admission = gate(request)
      if (admission.endpoint.upload) over.isUpload = true
      admitRequest(request, { admission, over })
    } catch (error) {
      logUnexpected(error, `${request.method} request`)
      return refuse(request, response, error)
    }
    void listener(request, response)
  })
  // Of our own: Node's knows no uploads.
  server.requestTimeout = 0
  server.headersTimeout = HEADERS_TIMEOUT_MS
  server.keepAliveTimeout = KEEP_ALIVE_MS

  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    void upgrade(request, socket, head).catch((error: unknown) => {
      logUnexpected(error, 'upgrade')
      rejectUpgrade(socket, error)
    })
  })

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    assertOpen()
    const admission = gate(request)
    if (!('socket' in admission.endpoint.response)) throw new HakuError('endpoint.not_found', 'This endpoint is no WebSocket.')
    assertRequest(admission)
    if (sockets.clients.size >= MAX_SOCKETS) throw new HakuError('host.stopping', `The ${options.name} serves ${MAX_SOCKETS} WebSockets already. Close some, or try again later.`)
    const connect = await resolveSocketHandler(options.app, request)
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      // Without a listener a bad frame of one client would end the process. ws closes the socket itself, with the right code.
      webSocket.on('error', () => undefined)
      connect(webSocket, admission)
    })
  }

  // One timer for all of them: one for each would cost more than most of them do.
  const sweep = setInterval(() => {
    for (const [request, { began, isUpload }] of requests) if (!isUpload && !request.complete && performance.now() - began > receiveMs) request.destroy()
  }, Math.min(SWEEP_MS, receiveMs)).unref()

  await listen(server, options)
  const address = server.address() as AddressInfo
  return {
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`,
    async close(graceMs) {
      stopping = true
      clearInterval(sweep)
      for (const over of requests.values()) over.end()
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const client of sockets.clients) client.close(closeCodes.restarting, `${options.name} is stopping`)
      server.closeIdleConnections()
      const cut = setTimeout(() => {
        for (const client of sockets.clients) client.terminate()
        server.closeAllConnections()
      }, graceMs)
      await closed
      clearTimeout(cut)
    },
  }
}

// --- internal ---

async function listen(server: Server, { host, port, name }: EdgeOptions): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, () => resolve())
    })
  } catch (error) {
    const reason = systemErrorCode(error)
    const text = reason === 'EADDRINUSE' ? 'another process listens there. Stop it, or choose another port in the configuration' : (reason ?? String(error))
    throw new HakuError('config.invalid', `The ${name} can not listen on ${host}:${port}: ${text}.`, { cause: error })
  }
}

/** Answers before the body was read: the connection can not be used again. */
function refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (encoding !== undefined || Number(length ?? 0) > LARGE_BODY_BYTES) {
    sendProblemEarly(request, response, error)
    return
  }
  if (length !== undefined) response.setHeader('connection', 'close')
  sendProblem(response, error)
}

/** What does not fit into the buffers of a connection: its sender is still sending when it is refused. */
const LARGE_BODY_BYTES = 64 * 1024

/** The hook that the route file of the upgrade's path exports. */
async function resolveSocketHandler(app: App, request: IncomingMessage): Promise<SocketHandler> {
  const resolve = app.websocket.resolve as unknown as ((info: { url: string }) => Promise<SocketHandler | undefined>) | undefined
  const handler = await resolve?.({ url: request.url ?? '/' })
  if (typeof handler !== 'function') throw new Error(`no route file for the WebSocket at ${request.url?.split('?')[0]}`)
  return handler
}

function rejectUpgrade(socket: Duplex, error: unknown): void {
  const problem = problemOf(error)
  const body = JSON.stringify(problem)
  const lines = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(problem.status === 401 ? ['WWW-Authenticate: Bearer realm="hakuriver"'] : []),
    'Connection: close',
  ]
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
  ;(socket as Socket).destroySoon?.()
}
