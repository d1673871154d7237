import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

export interface ProxiedRequest {
  /** Counted from 1. */
  number: number
  method: string
  /** With the query. */
  path: string
  headers: IncomingHttpHeaders
}

/**
 * What becomes of a request: it passes; its connection is cut before it reaches the server; its answer is lost; its answer is cut after so many
 * bytes; or the proxy answers itself.
 */
export type Verdict = 'pass' | 'cut' | 'lose' | { cutAfter: number } | { status: number; body?: string }

export interface S3Proxy {
  endpoint: string
  requests: ProxiedRequest[]
  close(): Promise<void>
}

/** Stands between a client and an S3 server, and does what goes wrong on networks. Without a `target` it is the server itself. */
export async function startS3Proxy(target: string | undefined, judge: (request: ProxiedRequest) => Verdict | Promise<Verdict>): Promise<S3Proxy> {
  const requests: ProxiedRequest[] = []
  const handle = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const request = { number: requests.length + 1, method: incoming.method ?? '', path: incoming.url ?? '', headers: incoming.headers }
    requests.push(request)
    const body = await buffer(incoming)
    const verdict = await judge(request)
    if (verdict === 'cut') return void outgoing.destroy()
    if (typeof verdict === 'object' && 'status' in verdict) return void outgoing.writeHead(verdict.status, { 'Content-Type': 'application/xml' }).end(verdict.body ?? '')
    await forward({ target, request, body, verdict }, outgoing)
  }
  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing).catch(() => outgoing.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** An error as S3 answers it. */
export function s3Answer(status: number, code: string, more = ''): Verdict {
  return { status, body: `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code}</Message>${more}</Error>` }
}

// --- internal ---

interface Forwarded {
  target: string | undefined
  request: ProxiedRequest
  body: Buffer
  verdict: 'pass' | 'lose' | { cutAfter: number }
}

async function forward({ target, request, body, verdict }: Forwarded, outgoing: ServerResponse): Promise<void> {
  // The host is part of the signature, so it stays as the client wrote it.
  const onward = httpRequest(`${target}${request.path}`, { method: request.method, headers: request.headers })
  onward.end(body)
  const [answer] = (await once(onward, 'response')) as [IncomingMessage]
  const content = await buffer(answer)
  if (verdict === 'lose') return void outgoing.destroy()
  outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
  if (verdict === 'pass' || content.length <= verdict.cutAfter) return void outgoing.end(content)
  outgoing.write(content.subarray(0, verdict.cutAfter), () => outgoing.destroy())
}
