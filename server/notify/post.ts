import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { version } from '#core/version.ts'

export interface PostOptions {
  timeoutMs: number
  signal: AbortSignal
}

/** Posts JSON to somebody else's server. Follows no redirect, and reads nothing but the status. @throws unless that is 2xx */
export async function postJson(address: string, body: string, { timeoutMs, signal }: PostOptions): Promise<void> {
  const url = new URL(address)
  const status = await new Promise<number>((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'user-agent': `hakuriver/${version}` }
    // No kept connections: nobody knows when the next one is posted there.
    const outgoing = send(url, { method: 'POST', headers, agent: false, signal }, (response) => {
      clearTimeout(timer)
      resolve(response.statusCode ?? 0)
      response.on('error', () => undefined).destroy()
    })
    const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs)
    outgoing.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    outgoing.end(body)
  })
  if (status < 200 || status > 299) throw new Error(`it answered ${status}${status >= 300 && status < 400 ? ', and redirects are not followed' : ''}`)
}
