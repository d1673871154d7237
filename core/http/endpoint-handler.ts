import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { defineEventHandler, type EventHandler } from 'h3'
import type { WebSocket } from 'ws'
import type { z } from 'zod'
import type { Endpoint, EndpointInput, EndpointOutput } from '../api/endpoint.ts'
import { HakuError, type Issue, isErrorCode } from '../errors.ts'
import { decodeUser, USER_HEADER } from '../user.ts'
import type { Admission, AdmittedRequest } from './gate.ts'
import { logUnexpected, securityHeaders, sendProblem, sendProblemEarly } from './problems.ts'

const DEFAULT_MAX_BODY_BYTES = 1024 * 1024
/** An upload may take hours, but not rest for so long. */
const UPLOAD_IDLE_MS = 60_000

/** Everything a route gets, parsed, a signal that fires when the client is gone or the server stops, the `Range` that it asks for, and who calls, for people (empty: not told). */
export type HandlerInput<E extends Endpoint> = EndpointInput<E> & { signal: AbortSignal; range: string | undefined; user: string }

/** A stream, and what the headers tell of it; 206 for a part that was asked for by `Range`. */
export interface StreamAnswer {
  stream: Readable
  headers: Record<string, string>
  status?: 206
}

type HandlerResult<E extends Endpoint> = E['response'] extends { stream: string } ? Readable | StreamAnswer : EndpointOutput<E>

export type SocketHandler = (socket: WebSocket, admission: Admission) => void

/** One route file: the endpoint's contract, and the service call that answers it. */
export function defineEndpoint<const E extends Endpoint>(endpoint: E, handler: (input: HandlerInput<E>) => HandlerResult<E> | Promise<HandlerResult<E>>): EventHandler {
  return defineEventHandler(async (event) => {
    const { req, res } = event.node
    event._handled = true
    try {
      const { admission, over } = admittedRequest(req)
      if (admission.endpoint !== (endpoint as Endpoint)) throw new Error(`route of ${endpoint.path} answers for ${admission.endpoint.path}`)
      const input = { ...parseRequest(endpoint, admission, await readBody(req, endpoint)), upload: openUpload(req, endpoint), range: req.headers.range, user: decodeUser(req.headers[USER_HEADER]), get signal() { return over.signal } }
      await respond(res, endpoint, await handler(input as HandlerInput<E>))
    } catch (error) {
      if (res.destroyed || res.writableEnded) return
      logUnexpected(error, `${req.method} ${endpoint.path}`)
      if (endpoint.upload) sendProblemEarly(req, res, error)
      else sendProblem(res, error)
    }
  })
}

/** A route file of a WebSocket: `open` gets the connected socket and the parsed request. */
export function defineSocketEndpoint<const E extends Endpoint>(endpoint: E, open: (socket: WebSocket, input: EndpointInput<E>) => void): EventHandler {
  const handler = defineEventHandler((event) => {
    event._handled = true
    sendProblem(event.node.res, new HakuError('request.upgrade_required', `${endpoint.path} speaks WebSocket only.`))
  })
  const connect: SocketHandler = (socket, admission) => open(socket, parseRequest(endpoint, admission, undefined) as EndpointInput<E>)
  return Object.assign(handler, { __websocket__: connect })
}

/** Throws what is wrong with the request of a socket, before it is upgraded. */
export function assertRequest(admission: Admission): void {
  parseRequest(admission.endpoint, admission, undefined)
}

const admitted = new WeakMap<IncomingMessage, AdmittedRequest>()

/** Hands what the gate found to the route. */
export function admitRequest(request: IncomingMessage, found: AdmittedRequest): void {
  admitted.set(request, found)
}

// --- internal ---

function admittedRequest(request: IncomingMessage): AdmittedRequest {
  const found = admitted.get(request)
  if (!found) throw new Error('a request reached a route without passing the gate')
  return found
}

async function readBody(request: IncomingMessage, endpoint: Endpoint): Promise<unknown> {
  if (!endpoint.body) return undefined
  const limit = assertBody(request, endpoint, ['application/json'])
  const bytes = await receiveAll(request, limit)
  try {
    return JSON.parse(strictUtf8.decode(bytes))
  } catch (error) {
    throw new HakuError('request.invalid_json', `The body is not valid JSON in UTF-8: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

/** By events: an iterator costs more than all the rest of a small body. */
function receiveAll(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    const take = (chunk: Buffer) => {
      length += chunk.length
      if (length <= limit) return void chunks.push(chunk)
      request.off('data', take).pause()
      reject(tooLarge(limit))
    }
    request.on('data', take)
    let isOver = false
    request.once('end', () => {
      isOver = true
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
    })
    request.once('error', reject)
    request.once('close', () => {
      if (!isOver) reject(new HakuError('request.invalid', 'The connection was cut before the body was complete.'))
    })
  })
}

/** Checks what the header tells of the body. Resolves to how many bytes it may have. */
function assertBody(request: IncomingMessage, { maxBodyBytes: limit = DEFAULT_MAX_BODY_BYTES }: Endpoint, types: readonly string[]): number {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (!types.includes(type)) throw new HakuError('request.content_type', `Send the body with "Content-Type: ${types.join('" or "')}".`)
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
  return limit
}

function tooLarge(limit: number): HakuError {
  return new HakuError('request.body_too_large', `The body may have ${limit} bytes at most.`)
}

/** The body as it comes, within its limit. It may be left in the middle: the connection is not cut by that. */
function openUpload(request: IncomingMessage, endpoint: Endpoint): Readable | undefined {
  if (!endpoint.upload) return undefined
  const limit = assertBody(request, endpoint, endpoint.upload)
  return Readable.from(receive(request, limit), { objectMode: false })
}

async function* receive(request: IncomingMessage, limit: number): AsyncGenerator<Buffer> {
  const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>
  // Only the client's pauses count, not those of whoever reads.
  let isWaiting = false
  const idle = setTimeout(() => (isWaiting ? request.destroy(new HakuError('request.invalid', `Nothing more of the body came for ${UPLOAD_IDLE_MS / 1000} s.`)) : idle.refresh()), UPLOAD_IDLE_MS)
  try {
    for (let length = 0; ; ) {
      isWaiting = true
      idle.refresh()
      const next = await chunks.next()
      isWaiting = false
      if (next.done) return
      length += next.value.length
      if (length > limit) throw tooLarge(limit)
      yield next.value
    }
  } finally {
    clearTimeout(idle)
  }
}

function parseRequest(endpoint: Endpoint, admission: Admission, body: unknown): { params: unknown; query: unknown; body: unknown } {
  const query = Object.fromEntries(admission.searchParams)
  const parts = [
    { place: 'path', schema: endpoint.params, value: admission.pathParams },
    { place: 'query', schema: endpoint.query, value: query },
    { place: 'body', schema: endpoint.body, value: body },
  ]
  const [params, parsedQuery, parsedBody] = parts.map(({ place, schema, value }) => {
    if (!schema) return place === 'body' ? undefined : {}
    const result = schema.safeParse(value)
    if (!result.success) throw invalidRequest(place, result.error)
    return result.data
  })
  return { params, query: parsedQuery, body: parsedBody }
}

/** A failed check may name a code of its own (`params.code`), such as `environment.name_invalid`. */
function invalidRequest(place: string, error: z.ZodError): HakuError {
  // Of a name of a value, what is wrong with it.
  const issues: Issue[] = error.issues.map((issue) => ({ path: issue.path.map(String).join('.'), message: (issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined) ?? issue.message }))
  const first = error.issues[0]
  const code = first?.code === 'custom' ? (first.params?.['code'] as unknown) : undefined
  if (typeof code === 'string' && isErrorCode(code)) return new HakuError(code, first?.message ?? '', { issues })
  const detail = issues.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join('; ')
  return new HakuError('request.invalid', `The ${place} is not valid: ${detail}`, { issues })
}

async function respond(response: ServerResponse, endpoint: Endpoint, result: unknown): Promise<void> {
  const shape = endpoint.response
  const headers = { 'cache-control': 'no-store', ...securityHeaders }
  if ('stream' in shape) {
    const { stream, headers: added, status = shape.status } = result instanceof Readable ? { stream: result, headers: {} } : (result as StreamAnswer)
    response.writeHead(status, { ...headers, 'content-type': shape.stream, ...added })
    response.flushHeaders()
    // A client that leaves is no failure; a source that fails cuts the connection, which the client sees.
    await pipeline(stream, response).catch((error: unknown) => {
      if (!response.destroyed) logUnexpected(error, endpoint.path)
    })
    return
  }
  if (shape.status === 204) {
    response.writeHead(204, headers).end()
    return
  }
  const text = JSON.stringify(result)
  // Without its length it would be sent in chunks.
  response.writeHead(shape.status, { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text)
}
