import type { IncomingMessage, ServerResponse } from 'node:http'
import { HakuError, type ErrorKind, type ProblemDetails, isHakuError, toProblem } from '../errors.ts'

/** The one table error kind → HTTP status. */
export const statusOfKind: Record<ErrorKind, number> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  too_large: 413,
  range_not_satisfiable: 416,
  unsupported_media_type: 415,
  misdirected: 421,
  impossible: 422,
  cancelled: 409,
  unreachable: 503,
  unavailable: 503,
  internal: 500,
}

/** The problem document of anything thrown, with its status. */
export function problemOf(error: unknown): ProblemDetails {
  const kind: ErrorKind = isHakuError(error) ? error.kind : 'internal'
  return toProblem(error, statusOfKind[kind])
}

/** Answers with a problem document. Closes the connection where the rest of the request was not read. */
export function sendProblem(response: ServerResponse, error: unknown, { keepOpen = false } = {}): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const problem = problemOf(error)
  const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...securityHeaders }
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer realm="hakuriver"'
  if (problem.status === 503) headers['retry-after'] = '5'
  if (!keepOpen && (problem.status === 413 || problem.status === 415)) headers['connection'] = 'close'
  response.writeHead(problem.status, headers)
  response.end(JSON.stringify(problem))
}

/** Whoever goes on sending after this is cut off. */
const DRAIN_MS = 10_000

/**
 * Answers with a problem document while the client is still sending, as it does with an upload. What it sends is thrown away until it
 * has read the answer: closing at once would reset the connection, and the client would never see why.
 */
export function sendProblemEarly(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  sendProblem(response, error, { keepOpen: true })
  if (request.complete || request.destroyed) return
  request.on('error', () => undefined)
  request.resume()
  const cut = setTimeout(() => request.destroy(), DRAIN_MS)
  request.once('close', () => clearTimeout(cut))
}

/** On every answer: nothing here is for other sites, or for a browser to guess at. */
export const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'content-security-policy': "default-src 'self'; frame-ancestors 'none'",
}

/** Logs what is our fault, once, where it is answered. The client's own mistakes are no news. */
export function logUnexpected(error: unknown, request: string): void {
  if (isHakuError(error) && error.kind !== 'internal') return
  const cause = error instanceof HakuError ? (error.cause ?? error) : error
  console.error(`[hakuriver] [http] ${request} failed:`, cause)
}
