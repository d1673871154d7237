import { createInterface } from 'node:readline'
import { leave } from './interrupts.ts'
import { usage } from './parse.ts'

/** Asks for a yes on standard error; anything else is a no. @throws `usage.invalid` where nobody can be asked */
export async function confirm(question: string): Promise<boolean> {
  const { stdin, stderr } = process
  if (!stdin.isTTY || !stderr.isTTY) throw usage('Nobody can be asked here. Give --yes if it is meant, or --dry-run to see what would be done.')
  const lines = createInterface({ input: stdin, output: stderr })
  try {
    const answer = await new Promise<string>((resolve) => {
      lines.once('SIGINT', () => {
        stderr.write('\n')
        leave()
      })
      lines.once('close', () => resolve(''))
      lines.question(`${question} [y/N] `, resolve)
    })
    return /^y(?:es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}
