import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'

/** The way to an Engine, as a socket of its own that can be cut, as if the Engine went down. */
export interface EngineLink {
  socketPath: string
  cut(): Promise<void>
  restore(): Promise<void>
  /** Holds back what comes after so many bytes of one connection. `held` resolves when there is something. */
  hold(bytes: number): { held: Promise<void>; release(): void }
}

export async function createEngineLink(socketPath: string, enginePath: string): Promise<EngineLink> {
  const open = new Set<Socket>()
  let server: Server | undefined

  let holding: { bytes: number; reached(): void; until: Promise<void> } | undefined

  function holdBack(): Transform {
    let passed = 0
    return new Transform({
      transform(chunk: Buffer, _, callback) {
        passed += chunk.length
        const goOn = () => callback(null, chunk)
        if (!holding || passed <= holding.bytes) return goOn()
        holding.reached()
        void holding.until.then(goOn)
      },
    })
  }

  function pass(client: Socket): void {
    const upstream = connect({ path: enginePath, allowHalfOpen: true })
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      open.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroySoon()
      })
      if (from === client) from.pipe(holdBack()).pipe(to)
      else from.pipe(to)
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
    hold(bytes) {
      let release: () => void = () => undefined
      let reached: () => void = () => undefined
      const held = new Promise<void>((resolve) => (reached = resolve))
      holding = { bytes, reached, until: new Promise((resolve) => (release = resolve)) }
      return {
        held,
        release() {
          holding = undefined
          release()
        },
      }
    },
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
