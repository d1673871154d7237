import { hash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import type { Endpoint, Role } from '../api/endpoint.ts'
import { createMatcher } from '../api/match.ts'
import { HakuError } from '../errors.ts'
import { quote } from '../names.ts'
import { TOKEN_PROTOCOL_PREFIX } from '../terminal/protocol.ts'
import { isTicketValid } from '../tickets.ts'
import type { RequestSignal } from './request-signal.ts'

/** A request that passed the gate. */
export interface Admission {
  endpoint: Endpoint
  pathParams: Record<string, string>
  searchParams: URLSearchParams
  role: Role
}

/** What a request brings to its route: its admission, and whether the client is gone or the server stops. */
export interface AdmittedRequest {
  admission: Admission
  over: RequestSignal
}

export interface GateOptions {
  api: Record<string, Endpoint>
  /** Token → role. Read at each request, so that a token can be revoked. */
  tokens: () => Tokens
  /** With what tickets for single paths are issued, if there are any. */
  ticketSecret?: string
  /** Host names under which this server is reached, beside `localhost`, IP addresses and the machine's own name. */
  allowedHosts: string[]
}

type Tokens = Partial<Record<Exclude<Role, 'public' | 'neighbour'>, string>>

const TOKEN_QUERY_RE = /^(?:access_)?token$|^api_?key$|^authorization$/i

/**
 * Decides who gets in: deny by default, the same for HTTP and for upgrades.
 *
 * An IP address as Host is safe from DNS rebinding (the attacker needs a name); any other name must be known.
 *
 * @returns a function that throws the `HakuError` to answer with
 */
export function createGate(options: GateOptions): (request: IncomingMessage) => Admission {
  const match = createMatcher(options.api)
  const hosts = new Set(['localhost', hostname().toLowerCase(), ...options.allowedHosts.map((host) => host.toLowerCase())])

  return function admit(request) {
    const host = assertHost(request, hosts)
    assertOrigin(request, host)
    const { pathname, searchParams, isPlain } = parseUrl(request)
    for (const key of searchParams.keys()) {
      if (TOKEN_QUERY_RE.test(key)) throw new HakuError('auth.token_in_url', 'A token in a URL ends up in logs. Send it as "Authorization: Bearer …".')
    }
    const found = isPlain ? match(request.method ?? '', pathname) : 'unknown_path'
    // Who may not come in does not learn which paths exist.
    const isPublic = typeof found === 'object' && found.endpoint.role === 'public'
    const role = isPublic ? 'public' : authenticate(request, { tokens: options.tokens(), ticketSecret: options.ticketSecret, path: pathname })
    if (found === 'unknown_path') throw new HakuError('endpoint.not_found', `There is no endpoint at ${quote(pathname)}. See /openapi.json.`)
    if (found === 'unknown_method') throw new HakuError('request.method_not_allowed', `${quote(pathname)} does not answer to ${request.method}. See /openapi.json.`)
    if (!isPublic && found.endpoint.role !== role) {
      throw new HakuError('auth.role_refused', `This needs the credential of ${found.endpoint.role}, and that of ${role} was given.`)
    }
    return { endpoint: found.endpoint, pathParams: found.params, searchParams, role }
  }
}

// --- internal ---

function assertHost(request: IncomingMessage, hosts: Set<string>): string {
  const header = request.headers.host ?? ''
  const doubled = request.rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length > 1
  const name = /^(?<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.exec(header)?.groups?.['name']?.toLowerCase()
  const known = name !== undefined && !doubled && (hosts.has(name) || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0)
  if (!known) throw new HakuError('request.unknown_host', `The Host header ${quote(header)} is not known here. Add the name to network.allowed_hosts if it is yours.`)
  return header
}

/** A browser sends Origin with everything that another page could start; ours is the only one that may. */
function assertOrigin(request: IncomingMessage, host: string): void {
  const { origin } = request.headers
  if (origin === undefined || origin === `http://${host}` || origin === `https://${host}`) return
  throw new HakuError('request.origin_refused', `A page of ${quote(origin)} may not call this server.`)
}

/** Nothing in it is escaped, and no segment begins with a dot: it is what a parser would make of it. */
const PLAIN_PATH_RE = /^(?:\/[\w~-][\w.~-]*)+$/
const NO_QUERY = new URLSearchParams()

interface ParsedUrl extends Pick<URL, 'pathname' | 'searchParams'> {
  /** The parser left the path as it came. The router reads it as it came: with `/./` in it, it would find another route, or none. */
  isPlain: boolean
}

function parseUrl({ url = '/' }: IncomingMessage): ParsedUrl {
  if (PLAIN_PATH_RE.test(url)) return { pathname: url, searchParams: NO_QUERY, isPlain: true }
  try {
    // The base is never used for anything: only path and query count.
    const { pathname, searchParams } = new URL(`http://localhost${url.startsWith('/') ? url : `/${url}`}`)
    return { pathname, searchParams, isPlain: pathname === url.split('?', 1)[0] }
  } catch {
    throw new HakuError('request.invalid', 'The request line has no valid path.')
  }
}

function authenticate(request: IncomingMessage, { tokens, ticketSecret, path }: { tokens: Tokens; ticketSecret: string | undefined; path: string }): Role {
  const given = bearerToken(request)
  if (given === undefined) throw new HakuError('auth.required', 'A credential is needed. Run "hakuriver login", or send "Authorization: Bearer TOKEN"; the Host wrote the token into admin.token in its state directory.')
  const givenDigest = digest(given)
  for (const [role, token] of Object.entries(tokens) as [Role, string][]) {
    if (token && timingSafeEqual(givenDigest, knownDigest(token))) return role
  }
  if (ticketSecret !== undefined && isTicketValid(ticketSecret, path, given)) return 'neighbour'
  throw new HakuError('auth.invalid_token', 'The token is not known here. Compare it with admin.token (for people) or runner.token (for Runners) in the state directory of the Host.')
}

function bearerToken(request: IncomingMessage): string | undefined {
  const header = /^Bearer (?<token>\S+)$/i.exec(request.headers.authorization ?? '')?.groups?.['token']
  if (header !== undefined) return header
  if (request.headers.upgrade === undefined) return undefined
  const protocols = request.headers['sec-websocket-protocol']?.split(',').map((protocol) => protocol.trim())
  return protocols?.find((protocol) => protocol.startsWith(TOKEN_PROTOCOL_PREFIX))?.slice(TOKEN_PROTOCOL_PREFIX.length)
}

/** Digests are compared, so that neither length nor content shows in the time it takes. */
function digest(token: string): Buffer {
  return hash('sha256', token, 'buffer')
}

/** Of the few tokens that are known here. */
const knownDigests = new Map<string, Buffer>()
const MAX_KNOWN = 16

function knownDigest(token: string): Buffer {
  const known = knownDigests.get(token)
  if (known) return known
  if (knownDigests.size >= MAX_KNOWN) knownDigests.clear()
  const made = digest(token)
  knownDigests.set(token, made)
  return made
}
