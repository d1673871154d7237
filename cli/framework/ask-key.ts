import { stripVTControlCharacters } from 'node:util'

export interface KeyQuestion<T> {
  /** Nothing, if it was closed before somebody answered. */
  answer: Promise<T | undefined>
  close(): void
}

/** Asks at the terminal, on standard error, for a single key; Enter is one too. Keys that are no answer are left unheard. */
export function askKey<T>(question: string, answers: Readonly<Record<string, T>>): KeyQuestion<T> {
  const { stdin, stderr } = process
  let close = () => {}
  const answer = new Promise<T | undefined>((resolve) => {
    const end = (shown: string, given?: T) => {
      stdin.off('data', onData).off('end', close).setRawMode(false).pause()
      stderr.write(`${shown}\n`)
      resolve(given)
    }
    const onData = (data: Buffer) => {
      // Arrows and such come as several characters.
      const key = [...stripVTControlCharacters(data.toString()).toLowerCase()].find((each) => Object.hasOwn(answers, each))
      if (key !== undefined) end(/[a-z]/.test(key) ? key : '', answers[key])
    }
    close = () => end('')
    stdin.setRawMode(true).on('data', onData).once('end', close).resume()
    stderr.write(question)
  })
  return { answer, close: () => close() }
}
