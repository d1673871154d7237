import type { WebSocket } from 'ws'
import { setMaxListeners } from 'node:events'
import type { Engine } from '#core/engine/engine.ts'
import { keepAlive, PING_INTERVAL_MS } from './keep-alive.ts'
import { type ContainerFinder, runSession, type TerminalInput } from './session.ts'

/** The shells that clients have open in containers. */
export interface Terminals {
  /** Serves one client over its connected socket, as `core/terminal/protocol.ts` says. Never throws. */
  open(socket: WebSocket, input: TerminalInput): void
  /** Ends all shells, and refuses new ones. Resolves once their processes are gone. Idempotent. */
  closeAll(): Promise<void>
  /** Shells that are open. */
  count(): number
}

export interface TerminalsOptions {
  engine: Pick<Engine, 'exec'>
  containers: ContainerFinder
  /** @default 20_000 */
  pingIntervalMs?: number
}

export function createTerminals({ engine, containers, pingIntervalMs = PING_INTERVAL_MS }: TerminalsOptions): Terminals {
  const sessions = new Set<Promise<void>>()
  const stopping = new AbortController()
  setMaxListeners(0, stopping.signal)

  return {
    open(socket, input) {
      // ws closes the socket itself after an error; without a listener it would end the process.
      socket.on('error', () => undefined)
      keepAlive(socket, pingIntervalMs)
      const session = runSession({ engine, containers, socket, input, stopping: stopping.signal }).finally(() => sessions.delete(session))
      sessions.add(session)
    },
    async closeAll() {
      stopping.abort()
      await Promise.all(sessions)
    },
    count: () => sessions.size,
  }
}
