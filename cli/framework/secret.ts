import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { leave } from './interrupts.ts'

/** One line from standard input; at a terminal `question` is asked and nothing of the answer is shown. */
export async function readSecret(question: string): Promise<string> {
  const { stdin, stderr } = process
  if (stdin.isTTY) stderr.write(question)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: stdin, output: nowhere, terminal: stdin.isTTY })
  lines.once('SIGINT', () => {
    lines.close()
    stderr.write('\n')
    leave()
  })
  try {
    return await new Promise<string>((resolve) => {
      lines.once('line', resolve)
      lines.once('close', () => resolve(''))
    }).then((line) => line.trim())
  } finally {
    lines.close()
    if (stdin.isTTY) stderr.write('\n')
  }
}
