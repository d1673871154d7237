import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** The way to an Engine, as a socket of its own that can be cut, as if the Engine went down. */
export interface EngineLink {
  socketPath: string
  cut(): Promise<void>
  restore(): Promise<void>
}

export async function createEngineLink(socketPath: string, enginePath: string): Promise<EngineLink> {
  const open = new Set<Socket>()
  let server: Server | undefined

  function pass(client: Socket): void {
    const upstream = connect({ path: enginePath, allowHalfOpen: true })
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      open.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroySoon()
      })
      from.pipe(to)
    }
  }

  async function restore(): Promise<void> {
    server = createServer({ allowHalfOpen: true }, pass).listen(socketPath)
    await once(server, 'listening')
  }

  await restore()
  return {
    socketPath,
    restore,
    async cut() {
      if (!server) return
      const closed = once(server, 'close')
      server.close()
      for (const socket of open) socket.destroy()
      await closed
      server = undefined
      rmSync(socketPath, { force: true })
    },
  }
}
