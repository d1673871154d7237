import { spawnSync } from 'node:child_process'
import type { ReadStream, WriteStream } from 'node:tty'
import { terminalSize } from '../framework/output.ts'

/** The person's terminal, or pipes in its place. */
export interface LocalTerminal {
  /** Whether input comes from a terminal: then the shell gets one too. */
  readonly isTerminal: boolean
  size(): { columns: number; rows: number }
  onResize(listener: () => void): void
  /** Hands every key on as it is pressed, from now until `restore()` or the end of the process, however it comes. */
  setRaw(): void
  restore(): void
}

export function createLocalTerminal(input: ReadStream, outputs: WriteStream[]): LocalTerminal {
  const screen = outputs.find((output) => output.isTTY)
  const restore = () => {
    if (input.isTTY && input.isRaw) input.setRawMode(false)
  }

  return {
    isTerminal: input.isTTY === true,
    size: () => terminalSize(screen ?? {}),
    onResize(listener) {
      screen?.on('resize', listener)
    },
    setRaw() {
      if (!input.isTTY) return
      // First the way back: a signal must never find the terminal raw and nobody to restore it.
      process.once('exit', restore)
      for (const [signal, number] of [['SIGTERM', 15], ['SIGHUP', 1]] as const) process.once(signal, () => process.exit(128 + number))
      input.setRawMode(true)
      passOutputThrough()
    },
    restore,
  }
}

// --- internal ---

/**
 * Node's raw mode still puts a carriage return before each line feed, and full-screen programs send bare line feeds to move
 * the cursor down. Leaving raw mode restores this too. Without `stty` only such programs look wrong.
 */
function passOutputThrough(): void {
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] })
}
