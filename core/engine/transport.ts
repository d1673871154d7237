import { Agent, request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { HakuError } from '../errors.ts'
import { connectionError, refusalError } from './errors.ts'

/**
 * HTTP over the Engine's socket.
 *
 * On `node:http` and not on dockerode: `dockerode.wait()` and all its other calls never settle when the daemon dies in the
 * middle of an answer, a DOCKER_HOST in the environment overrules the socket it is given, and it costs 220 ms and
 * 20 MB to import.
 */
export interface Transport {
  readonly socketPath: string
  /** The whole answer. `undefined` if it has no body. */
  call(request: EngineRequest): Promise<unknown>
  /** The body of a good answer, as it comes. Its errors are ours; it MUST be read or destroyed. */
  open(request: EngineRequest): Promise<Readable>
  /** The raw connection once the Engine has switched to it. Half-open: `end()` closes the way to the Engine only. */
  hijack(request: EngineRequest): Promise<Socket>
}

export interface EngineRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** With every id and name in it already encoded: see {@link segment}. */
  path: string
  /** For messages: `create the container my-env`. */
  what: string
  query?: Record<string, string | number | boolean | undefined>
  /** Sent as JSON. */
  body?: unknown
  /** Sent as it comes, with back-pressure. If it dies, the request dies with it. */
  upload?: Readable
  signal?: AbortSignal | undefined
}

/** HTTP over the Engine's socket. Nothing is opened before the first request. */
export function createTransport(socketPath: string): Transport {
  // A new connection for each request costs 0.1 ms on a Unix socket, and can not be one that the daemon has just closed.
  const agent = new Agent({ keepAlive: false })
  const context: _Context = { socketPath, agent }
  return {
    socketPath,
    call: (request) => _call(context, request),
    open: (request) => _open(context, request),
    hijack: (request) => _hijack(context, request),
  }
}

/** One path segment from an id or a name, whatever is in it. */
export function segment(idOrName: string): string {
  // encodeURIComponent leaves dots alone, and "." or ".." would change the path.
  return encodeURIComponent(idOrName).replace(/^\.+$/, (dots) => dots.replaceAll('.', '%2E'))
}

// --- internal ---

interface _Context {
  socketPath: string
  agent: Agent
}

const NOT_MODIFIED = 304
const errorBody = z.object({ message: z.string() })

async function _call(context: _Context, request: EngineRequest): Promise<unknown> {
  const body = await _readText(await _open(context, request), request)
  if (body === '') return undefined
  const value = _parseJson(body)
  if (value === undefined) throw new HakuError('engine.failed', `Could not ${request.what}: the Docker Engine at ${context.socketPath} answers with something that is not JSON.`)
  return value
}

async function _open(context: _Context, request: EngineRequest): Promise<Readable> {
  const response = await _send(context, request)
  const status = response.statusCode ?? 0
  const guarded = _guard(response, context, request)
  if (status >= 300 && status !== NOT_MODIFIED) {
    const words = await _readText(guarded, request)
    throw _refusal(status, words, request)
  }
  return guarded
}

/** What the source of an upload died of, rather than the broken connection that follows from it. */
async function _readText(stream: Readable, request: EngineRequest): Promise<string> {
  try {
    return await text(stream)
  } catch (error) {
    throw request.upload?.errored ?? error
  }
}

function _send(context: _Context, request: EngineRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(_requestOptions(context, request, {}))
    outgoing.on('response', resolve)
    outgoing.on('error', (error) => reject(_translate(error, context, request)))
    _sendBody(outgoing, request)
  })
}

function _hijack(context: _Context, request: EngineRequest): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(_requestOptions(context, request, { Connection: 'Upgrade', Upgrade: 'tcp' }))
    outgoing.on('error', (error) => reject(_translate(error, context, request)))
    outgoing.on('upgrade', (_response, socket, head) => {
      // What the Engine sent together with its headers belongs to the stream.
      if (head.length > 0) socket.unshift(head)
      resolve(_guard(socket as Socket, context, request))
    })
    outgoing.on('response', (response) => {
      _refuse(response, context, request).catch(reject)
    })
    _sendBody(outgoing, request)
  })
}

async function _refuse(response: IncomingMessage, context: _Context, request: EngineRequest): Promise<never> {
  const words = await text(_guard(response, context, request))
  throw _refusal(response.statusCode ?? 0, words || 'it does not hand over the connection', request)
}

function _refusal(status: number, body: string, request: EngineRequest): HakuError {
  // The Engine's router cleans the path after it has decoded it, so a name with "/../" is redirected to something else.
  if (status >= 300 && status < 400) return refusalError(404, `No such ${request.path.startsWith('/images/') ? 'image' : 'container'}: it is not even a name`, request.what)
  return refusalError(status, _words(body) || `status ${status}`, request.what)
}

function _requestOptions(context: _Context, request: EngineRequest, headers: Record<string, string>): RequestOptions {
  return {
    socketPath: context.socketPath,
    agent: context.agent,
    method: request.method,
    path: request.path + _queryString(request.query),
    headers: { Host: 'docker', ...headers, ..._bodyHeaders(request) },
    ...(request.signal && { signal: request.signal }),
  }
}

function _bodyHeaders(request: EngineRequest): Record<string, string> {
  if (request.upload) return { 'Content-Type': 'application/x-tar', 'Transfer-Encoding': 'chunked' }
  return request.body === undefined ? {} : { 'Content-Type': 'application/json' }
}

function _sendBody(outgoing: ClientRequest, request: EngineRequest): void {
  if (request.upload) _upload(outgoing, request.upload)
  else outgoing.end(request.body === undefined ? undefined : JSON.stringify(request.body))
}

/** A source that ends too early must never look like the end of the body: then the Engine would take half for the whole. */
function _upload(outgoing: ClientRequest, source: Readable): void {
  // Before the pipeline, which would end the request without a reason: then the Engine would be blamed.
  source.once('close', () => {
    if (!source.readableEnded && !source.errored) outgoing.destroy(new Error('What was to be sent to the Docker Engine was closed before its end.'))
  })
  pipeline(source, outgoing, (error) => {
    if (error) outgoing.destroy(error)
  })
  // An answer that comes before the end of the upload is a refusal: nobody reads the rest.
  outgoing.on('response', (response: IncomingMessage) => {
    if ((response.statusCode ?? 0) >= 400) response.on('close', () => source.destroy())
  })
}

function _queryString(query: EngineRequest['query']): string {
  const entries = Object.entries(query ?? {}).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)] satisfies [string, string]]))
  return entries.length === 0 ? '' : `?${new URLSearchParams(entries).toString()}`
}

/**
 * Makes the errors of a stream ours, at the one place through which Node passes all of them: a transform around it would cost
 * throughput. The listener keeps an error that comes while nobody looks from ending the process; whoever reads the
 * stream later still gets it.
 */
function _guard<T extends Readable>(stream: T, context: _Context, request: EngineRequest): T {
  const destroy = stream.destroy.bind(stream)
  stream.destroy = (error) => {
    destroy(error && _translate(error, context, request))
    return stream
  }
  stream.on('error', () => {})
  return stream
}

function _translate(error: Error, context: _Context, request: EngineRequest): Error {
  if (request.signal?.aborted) return request.signal.reason instanceof Error ? request.signal.reason : error
  const own = request.upload?.errored
  return own ?? connectionError(error, context.socketPath)
}

function _words(body: string): string {
  const parsed = errorBody.safeParse(_parseJson(body))
  return parsed.success ? parsed.data.message : body
}

function _parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
