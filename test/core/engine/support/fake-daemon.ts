import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface FakeDaemon {
  socketPath: string
  stop(): Promise<void>
}

export interface FakeBehaviour {
  answer?: (request: IncomingMessage, response: ServerResponse) => void
  hijack?: (request: IncomingMessage, socket: Socket) => void
}

/** A daemon that misbehaves as told: what a real one does only when it dies at the right moment. */
export async function startFakeDaemon(behaviour: FakeBehaviour): Promise<FakeDaemon> {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-daemon-'))
  const socketPath = join(directory, 'docker.sock')
  const server: Server = createServer(behaviour.answer)
  if (behaviour.hijack) server.on('upgrade', behaviour.hijack)
  server.listen(socketPath)
  await once(server, 'listening')
  return {
    socketPath,
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
      rmSync(directory, { recursive: true })
    },
  }
}
