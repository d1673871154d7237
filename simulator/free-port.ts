import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below those that a machine gives to connections by itself: whoever leaves such a port for a moment may find it taken. */
const [FIRST, LAST] = [10_000, 32_000]
const TRIES = 100

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
      server.close()
      await once(server, 'close')
      return port
    } catch (error) {
      if (attempt === TRIES) throw error
    }
  }
}
