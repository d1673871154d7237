// Small files and logs, for the scripts of this folder.
import { readFileSync } from 'node:fs'

/** What is in a file; empty if it can not be read. */
export function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** The last lines of a text. */
export function tail(text, lines = 15) {
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}
