import { spawn } from '@lydell/node-pty'
import { fileURLToPath } from 'node:url'

const BIN = fileURLToPath(new URL('../../dist/bin/', import.meta.url))

/** Longer than any step takes: what is not shown by then never will be. */
const PATIENCE_MS = 90_000

/** A command in a pseudo-terminal, driven as by a person. */
export interface TestTerminal {
  /** All that was shown so far. */
  readonly screen: string
  type(keys: string): void
  resize(columns: number, rows: number): void
  /** Resolves once `text` was shown, after all that was waited for before. Rejects if the command ends without it. */
  shows(text: string | RegExp): Promise<void>
  exited: Promise<number>
}

export function openTerminal(command: string, args: string[], env: NodeJS.ProcessEnv): TestTerminal {
  const pty = spawn(`${BIN}${command}`, args, { name: 'xterm-256color', cols: 100, rows: 30, env: env as Record<string, string> })
  let screen = ''
  let seen = 0
  let wake: () => void = () => undefined
  let ended: number | undefined
  pty.onData((data) => {
    screen += data
    wake()
  })
  const exited = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode }) => {
      ended = exitCode
      resolve(exitCode)
      wake()
    })
  })
  return {
    get screen() {
      return screen
    },
    type: (keys) => pty.write(keys),
    resize: (columns, rows) => pty.resize(columns, rows),
    exited,
    async shows(text) {
      const deadline = Date.now() + PATIENCE_MS
      for (;;) {
        const rest = screen.slice(seen)
        const index = typeof text === 'string' ? rest.indexOf(text) : rest.search(text)
        if (index >= 0) {
          seen += index + (typeof text === 'string' ? text.length : (text.exec(rest)?.[0].length ?? 0))
          return
        }
        if (ended !== undefined) throw new Error(`ended with ${ended} without showing ${text}:\n${screen}`)
        if (Date.now() > deadline) throw new Error(`did not show ${text} within ${PATIENCE_MS / 1000} s:\n${screen}`)
        await new Promise<void>((resolve) => {
          wake = resolve
          setTimeout(resolve, 1000)
        })
      }
    },
  }
}
