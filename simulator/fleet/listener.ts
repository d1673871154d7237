import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export type Handle = (request: IncomingMessage, response: ServerResponse) => Promise<void>

/** The address of one node. */
export interface Door {
  readonly port: number
  /** Nobody listens there any more, and what was open is cut. */
  close(): Promise<void>
}

/** One HTTP server behind as many addresses as there are nodes: an HTTP server for each would cost more than all the rest of a node. */
export interface Listener {
  /** @param port the one of before, if there was one */
  open(handle: Handle, port?: number): Promise<Door>
}

/** Longer than the Host's connections rest: they are not closed just as they are used again. */
const KEEP_ALIVE_MS = 90_000

export function createListener(): Listener {
  const handlers = new WeakMap<Socket, Handle>()
  const http = createHttpServer((request, response) => {
    handlers.get(request.socket)?.(request, response).catch(() => request.socket.destroy())
  })
  http.keepAliveTimeout = KEEP_ALIVE_MS

  return {
    async open(handle, port = 0) {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        handlers.set(socket, handle)
        sockets.add(socket.once('close', () => sockets.delete(socket)))
        http.emit('connection', socket)
      })
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
      return {
        port: (server.address() as AddressInfo).port,
        async close() {
          const closed = once(server, 'close')
          server.close()
          for (const socket of sockets) socket.destroy()
          await closed
        },
      }
    },
  }
}
