import { type IPty, spawn } from '@lydell/node-pty'
import { onTestFinished } from 'vitest'

export interface Terminal {
  pty: IPty
  /** Resolves once `text` was shown. */
  seen(text: string | RegExp): Promise<void>
  /** The exit code, or 128 and the signal. */
  ended: Promise<number>
  output(): string
}

/** A program at a terminal of 100 columns and 30 rows. */
export function startTerminal(command: string, args: string[], env: NodeJS.ProcessEnv): Terminal {
  const pty = spawn(command, args, { cols: 100, rows: 30, env: env as Record<string, string>, name: 'xterm' })
  let text = ''
  let wake = () => {}
  pty.onData((data) => {
    text += data
    wake()
  })
  let hasEnded = false
  const ended = new Promise<number>((resolve) => pty.onExit(({ exitCode, signal }) => {
    hasEnded = true
    wake()
    resolve(signal ? 128 + signal : exitCode)
  }))
  onTestFinished(() => {
    if (!hasEnded) pty.kill('SIGKILL')
  })
  return {
    pty, ended,
    output: () => text,
    async seen(wanted) {
      while (typeof wanted === 'string' ? !text.includes(wanted) : !wanted.test(text)) {
        if (hasEnded) throw new Error(`ended without ${String(wanted)}: ${JSON.stringify(text)}`)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}
