import { createWriteStream } from 'node:fs'
import { request } from 'node:http'
import type { Socket } from 'node:net'
import { timed } from './statistics.ts'

/** The bare Engine API, as little as can be between the clock and the Engine: what all ratios are measured against. */
export interface RawEngine {
  call(method: string, path: string, body?: unknown): Promise<string>
  /** Reads an answer to its end and resolves to its length. */
  download(path: string, sink: NodeJS.WritableStream): Promise<void>
  /** Sends a body and reads the answer to its end. */
  upload(path: string, source: NodeJS.ReadableStream): Promise<void>
  hijack(path: string, body: unknown): Promise<Socket>
}

export function createRawEngine(socketPath: string): RawEngine {
  return {
    call: (method, path, body) =>
      new Promise((resolve, reject) => {
        const outgoing = request({ socketPath, method, path, headers: body === undefined ? {} : { 'content-type': 'application/json' } }, (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('error', reject)
          response.on('end', () => ((response.statusCode ?? 500) < 400 ? resolve(text) : reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`))))
        })
        outgoing.on('error', reject)
        outgoing.end(body === undefined ? undefined : JSON.stringify(body))
      }),
    download: (path, sink) =>
      new Promise((resolve, reject) => {
        request({ socketPath, path }, (response) => {
          response.pipe(sink).on('finish', resolve).on('error', reject)
        }).on('error', reject).end()
      }),
    upload: (path, source) =>
      new Promise((resolve, reject) => {
        const outgoing = request({ socketPath, method: 'POST', path, headers: { 'content-type': 'application/x-tar' } }, (response) => {
          response.resume().on('end', resolve).on('error', reject)
        })
        source.pipe(outgoing.on('error', reject))
      }),
    hijack: (path, body) =>
      new Promise((resolve, reject) => {
        const outgoing = request({ socketPath, method: 'POST', path, headers: { 'content-type': 'application/json', connection: 'Upgrade', upgrade: 'tcp' } })
        outgoing.on('upgrade', (_, socket, head) => {
          if (head.length > 0) socket.unshift(head)
          resolve(socket as Socket)
        })
        outgoing.on('error', reject)
        outgoing.end(JSON.stringify(body))
      }),
  }
}

/** create + start + wait + remove of one container, as the Runner's containers are but without the Runner. */
export async function rawTask(engine: RawEngine, image: string, command: string[]): Promise<void> {
  const { Id } = JSON.parse(await engine.call('POST', '/containers/create', { Image: image, Entrypoint: command.slice(0, 1), Cmd: command.slice(1), HostConfig: { NetworkMode: 'host', Init: true } })) as { Id: string }
  await engine.call('POST', `/containers/${Id}/start`)
  await engine.call('POST', `/containers/${Id}/wait?condition=not-running`)
  await engine.call('DELETE', `/containers/${Id}?v=true`)
}

/** The image that {@link rawPackaging} makes. */
export const RAW_IMAGE = 'hakuriver-bench-raw:latest'

/** stop + commit + save to a file of one container, in milliseconds. It runs again afterwards, and the image is gone. */
export async function rawPackaging(engine: RawEngine, container: string, file: string): Promise<number> {
  const [repository, tag] = RAW_IMAGE.split(':')
  const ms = await timed(async () => {
    await engine.call('POST', `/containers/${container}/stop`)
    await engine.call('POST', `/commit?container=${container}&repo=${repository}&tag=${tag}&pause=false`, {})
    await engine.download(`/images/${RAW_IMAGE}/get`, createWriteStream(file))
  })
  await engine.call('POST', `/containers/${container}/start`)
  await engine.call('DELETE', `/images/${RAW_IMAGE}`)
  return ms
}
