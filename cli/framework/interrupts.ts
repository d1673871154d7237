import { exitCodes } from './exit-codes.ts'

type Handler = () => void

let current: Handler = leave

/** From now on Ctrl-C ends the process with 130, unless a command handles it. Not for servers. */
export function catchInterrupts(): void {
  process.on('SIGINT', () => current())
}

/** Handles Ctrl-C until the returned function is called. */
export function onInterrupt(handler: Handler): () => void {
  const previous = current
  current = handler
  return () => {
    current = previous
  }
}

/** Ends as an interrupted program does. */
export function leave(): void {
  process.exit(exitCodes.interrupted)
}
