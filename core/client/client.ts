import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest, type RequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import type { Endpoint, EndpointOutput, EndpointRequest } from '../api/endpoint.ts'
import { buildPath } from '../api/match.ts'
import { HakuError, type ErrorCode, type ErrorKind, errorCatalogue, errorMessage, fromProblem, systemErrorCode } from '../errors.ts'
import { encodeUser, USER_HEADER } from '../user.ts'

/**
 * The typed client of the contract, for the command line, for the Runner and for the Host's calls to Runners.
 *
 * It speaks `node:http` and not `fetch`: that costs 10 ms and 2 MB at the first call where fetch costs 37 ms and 14 MB.
 */
export interface Client<Api extends Record<string, Endpoint>> {
  /** Calls an endpoint and resolves to its parsed answer. @throws what the server answered, `host.unreachable` / `node.unreachable`, or `internal.error` for an answer that the contract does not know */
  call<Id extends keyof Api>(id: Id, request: CallRequest<Api[Id]>): Promise<EndpointOutput<Api[Id]>>
  /** Calls an endpoint that streams, and resolves to its body once the answer has begun. */
  stream<Id extends keyof Api>(id: Id, request: CallRequest<Api[Id]>): Promise<IncomingMessage>
  /** Closes kept connections. */
  close(): void
}

export type CallRequest<E extends Endpoint> = EndpointRequest<E> & {
  signal?: AbortSignal
  /** Give up after so long without an answer. Default: 30 s; an upload is waited for without an end. */
  timeoutMs?: number
}

export interface ClientOptions<Api> {
  api: Api
  /** `http://host:port` */
  url: string
  token: string | undefined
  /** Who calls, for people: events name them. */
  user?: string
  /** At the same time; further calls wait for one. Default: 64. */
  connections?: number
  /** Of a node, for messages. */
  peer?: string
  /** What a refused connection means: the Host or a node is away. */
  unreachable: Extract<ErrorCode, 'host.unreachable' | 'node.unreachable'>
}

/** The client of one server. Connections are kept between calls; `close()` lets the process end at once. */
export function createClient<Api extends Record<string, Endpoint>>(options: ClientOptions<Api>): Client<Api> {
  const base = new URL(options.url)
  const agent = new Agent({ keepAlive: true, maxSockets: options.connections ?? 64, scheduling: 'lifo' })
  const name = options.unreachable === 'host.unreachable' ? `The Host at ${base.origin}` : `The node ${options.peer === undefined ? '' : `${options.peer} `}at ${base.origin}`
  const identity: Record<string, string> = {
    ...(options.token && { authorization: `Bearer ${options.token}` }),
    ...(options.user && { [USER_HEADER]: encodeUser(options.user) }),
  }

  async function send(endpoint: Endpoint, request: RawRequest): Promise<IncomingMessage> {
    try {
      return await exchange(base, agent, endpoint, request, identity)
    } catch (error) {
      throw toFailure(error, request)
    }
  }

  function toFailure(error: unknown, request: RawRequest): unknown {
    if (request.signal?.aborted) return request.signal.reason
    if (request.upload?.errored) return request.upload.errored
    const reason = systemErrorCode(error) ?? errorMessage(error)
    const words = options.unreachable === 'host.unreachable' ? `${name} can not be reached: ${reason}. Is it running? Check [network] host_reachable_address and host_port in the configuration.` : `${name} does not answer: ${reason}. Is its Runner running? Start it on the node, and try again; "hakuriver.client nodes" shows when it was last heard of.`
    return new HakuError(options.unreachable, words, { cause: error })
  }

  /** Nobody works with what the contract does not know: a proxy's page, an answer of another version, one that was cut. */
  function parse({ response }: Endpoint, text: string): unknown {
    if (!('body' in response)) return undefined
    const { data, error } = response.body.safeParse(readJson(text))
    if (error) throw notUnderstood(error.issues.map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message)).join('; '))
    return data
  }

  function readJson(text: string): unknown {
    try {
      return JSON.parse(text)
    } catch (error) {
      throw notUnderstood(errorMessage(error))
    }
  }

  function notUnderstood(reason: string): HakuError {
    return new HakuError('internal.error', `${name} gave an answer that is not understood: ${shortened(reason)}. Is it a HakuRiver of this version?`)
  }

  function endpointOf(id: keyof Api): Endpoint {
    const endpoint = options.api[id]
    if (!endpoint) throw new Error(`no endpoint ${String(id)}`)
    return endpoint
  }

  async function open(endpoint: Endpoint, request: RawRequest): Promise<IncomingMessage> {
    const response = await send(endpoint, request)
    if ((response.statusCode ?? 500) >= 400) throw await errorOf(response).catch((error: unknown) => toFailure(error, request))
    return response
  }

  return {
    async call(id, request) {
      const raw = request as RawRequest
      const endpoint = endpointOf(id)
      const response = await open(endpoint, raw)
      const text = await readText(response, raw.timeoutMs).catch((error: unknown) => {
        throw toFailure(error, raw)
      })
      return parse(endpoint, text) as EndpointOutput<Api[typeof id]>
    },
    stream: async (id, request) => open(endpointOf(id), request as RawRequest),
    close: () => agent.destroy(),
  }
}

/** The error that an answer of 400 or more describes. Reads its body. */
export async function errorOf(response: IncomingMessage): Promise<HakuError> {
  const text = await readText(response)
  try {
    const problem: unknown = JSON.parse(text)
    if (isProblem(problem)) return fromProblem(problem)
  } catch {
    // Not ours: a proxy's page, say. Told below.
  }
  const kind: ErrorKind = (response.statusCode ?? 500) === 404 ? 'not_found' : 'internal'
  const code: ErrorCode = kind === 'not_found' ? 'endpoint.not_found' : 'internal.error'
  return new HakuError(code, `${errorCatalogue[code].title}: the server answered ${response.statusCode} and no problem document. Is it a HakuRiver of this version?`)
}

// --- internal ---

const ANSWER_TIMEOUT_MS = 30_000
/** Half of what a string can have. What is larger comes as a stream. */
const MAX_ANSWER_LENGTH = 256 * 1024 * 1024

interface RawRequest {
  params?: Record<string, unknown>
  query?: Record<string, unknown>
  body?: unknown
  upload?: Readable
  signal?: AbortSignal
  timeoutMs?: number
}

function exchange(base: URL, agent: Agent, endpoint: Endpoint, request: RawRequest, identity: Record<string, string>): Promise<IncomingMessage> {
  const body = request.body === undefined ? undefined : JSON.stringify(request.body)
  const headers: Record<string, string | number> = { accept: 'application/json', ...identity }
  if (body !== undefined) {
    headers['content-type'] = 'application/json'
    headers['content-length'] = Buffer.byteLength(body)
  }
  if (request.upload) headers['content-type'] = endpoint.upload?.[0] ?? 'application/octet-stream'
  const isTls = base.protocol === 'https:'
  const options: RequestOptions = { hostname: base.hostname.replace(/^\[(.*)\]$/, '$1'), port: base.port, path: pathOf(endpoint, request), method: endpoint.method, headers }
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = (isTls ? httpsRequest : httpRequest)({ ...options, ...(!isTls && { agent }), ...(request.signal && { signal: request.signal }) }, (response) => {
      clearTimeout(timer)
      if (request.upload) endUpload(request.upload, outgoing, response)
      resolve(response)
    })
    const timeoutMs = request.timeoutMs ?? (request.upload ? undefined : ANSWER_TIMEOUT_MS)
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => outgoing.destroy(new Error('no answer in time')), timeoutMs)
    outgoing.on('error', (error) => {
      clearTimeout(timer)
      // A kept connection may be closed by the server just as it is used again: one more try, where trying twice is safe.
      const mayRepeat = outgoing.reusedSocket && endpoint.method !== 'POST' && !request.upload && systemErrorCode(error) === 'ECONNRESET' && !request.signal?.aborted
      if (mayRepeat) resolve(exchange(base, agent, endpoint, request, identity))
      else reject(error)
    })
    if (request.upload) request.upload.on('error', (error) => outgoing.destroy(error)).pipe(outgoing)
    else outgoing.end(body)
  })
}

function pathOf(endpoint: Endpoint, { params, query }: RawRequest): string {
  const path = buildPath(endpoint.path, params)
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined)
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString()}`
}

/** A server that answers before it has everything wants no more. */
function endUpload(upload: Readable, outgoing: ClientRequest, response: IncomingMessage): void {
  if (outgoing.writableFinished) return
  upload.unpipe(outgoing)
  upload.destroy()
  response.once('end', () => outgoing.destroy())
}

/** By events: an iterator costs more than all the rest of a small answer. Whoever began to answer and falls silent is not waited for either. */
function readText(response: IncomingMessage, timeoutMs = ANSWER_TIMEOUT_MS): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => response.destroy(new Error('no answer in time')), timeoutMs)
    let text = ''
    response.setEncoding('utf8').on('data', (chunk: string) => {
      if (text.length + chunk.length > MAX_ANSWER_LENGTH) response.destroy(new Error(`the answer is longer than ${MAX_ANSWER_LENGTH} characters`))
      else text += chunk
    })
    let isOver = false
    response.once('end', () => {
      isOver = true
      clearTimeout(timer)
      resolve(text)
    })
    response.once('error', reject)
    response.once('close', () => {
      clearTimeout(timer)
      if (!isOver) reject(new Error('the connection was cut before the answer was complete'))
    })
  })
}

function shortened(text: string): string {
  return text.length > 300 ? `${text.slice(0, 299)}…` : text
}

function isProblem(value: unknown): value is { code: string; detail: string } {
  return typeof value === 'object' && value !== null && 'code' in value && 'detail' in value && typeof value.code === 'string' && typeof value.detail === 'string'
}
