import { quote } from '#core/names.ts'
import { usage } from './parse.ts'

/** `NAME=VALUE` of each `--env`; a later one of the same name wins, as in `docker run`. @throws `usage.invalid` */
export function parseVariables(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => {
    const index = text.indexOf('=')
    if (index < 1) throw usage(`--env ${quote(text)} is not NAME=VALUE.`)
    return [text.slice(0, index), text.slice(index + 1)]
  }))
}
