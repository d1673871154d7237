import type { WebSocket } from 'ws'

export const PING_INTERVAL_MS = 20_000
const MISSES_ALLOWED = 2

/**
 * Notices a link that died without a word: pings, and cuts the socket after two pings without a sign of life. Any message is
 * one, also a ping of the client. Stops by itself when the socket closes.
 */
export function keepAlive(socket: WebSocket, intervalMs: number): void {
  let misses = 0
  const onLife = () => (misses = 0)
  const timer = setInterval(() => {
    // While either side holds the other back, the answer waits behind data; a dead link then ends by TCP's own time-out.
    const isHeldBack = socket.isPaused || socket.bufferedAmount > 0
    if (!isHeldBack && misses >= MISSES_ALLOWED) return socket.terminate()
    if (!isHeldBack) misses += 1
    socket.ping()
  }, intervalMs)
  timer.unref()
  socket.on('message', onLife).on('pong', onLife).on('ping', onLife)
  socket.once('close', () => clearInterval(timer))
}
