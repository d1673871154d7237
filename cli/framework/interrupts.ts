import { exitCodes } from './exit-codes.ts'

export type Interrupt = 'SIGINT' | 'SIGTERM'
type Handler = (signal: Interrupt) => void

let current: Handler = leave

/** From now on Ctrl-C and SIGTERM end the process with 130 and 143, unless a command handles them. Not for servers. */
export function catchInterrupts(): void {
  process.on('SIGINT', () => current('SIGINT'))
  process.on('SIGTERM', () => current('SIGTERM'))
}

/** Handles Ctrl-C and SIGTERM until the returned function is called. */
export function onInterrupt(handler: Handler): () => void {
  const previous = current
  current = handler
  return () => {
    current = previous
  }
}

/** Ends as an interrupted program does. */
export function leave(signal: Interrupt = 'SIGINT'): void {
  process.exit(interruptCode(signal))
}

/** What a shell shows for a program that this signal ended. */
export function interruptCode(signal: Interrupt): number {
  return signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated
}
