import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A piece of network between two processes, with knobs to fail. */
export interface TcpProxy {
  /** Cuts every connection that is open now. @returns how many */
  cut(): number
  close(): Promise<void>
}

/** Listens on `from` and hands everything on to `to`. */
export async function startTcpProxy({ from, to }: { from: { address: string; port: number }; to: { address: string; port: number } }): Promise<TcpProxy> {
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(to.port, to.address)
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      open.add(socket)
      socket.pipe(other)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        open.delete(socket)
        other.destroy()
      })
    }
  })
  server.listen(from.port, from.address)
  await once(server, 'listening')
  const cut = () => {
    const sockets = [...open]
    for (const socket of sockets) socket.destroy()
    return sockets.length / 2
  }
  return {
    cut,
    async close() {
      server.close()
      cut()
      await once(server, 'close')
    },
  }
}
