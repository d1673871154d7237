import { quote } from '#core/names.ts'
import { usage } from '../framework/parse.ts'

/**
 * The words of a command line, with quotes and backslashes as in a shell, and nothing else that a shell does.
 *
 * @throws `usage.invalid`
 */
export function splitWords(option: string, text: string): string[] {
  return splitRaw(option, text, /\s/).filter(Boolean).map(unquote)
}

/** `text` between separators that stand outside of quotes; quotes stay: see {@link unquote}. @throws `usage.invalid` */
export function splitRaw(option: string, text: string, separator: RegExp): string[] {
  const pieces = ['']
  for (const [token, quoted] of text.matchAll(TOKEN_RE)) {
    if (!quoted && /['"\\]/.test(token)) throw usage(`${option} ${quote(text)} has a quote or a backslash that nothing follows.`)
    if (!quoted && separator.test(token)) pieces.push('')
    else pieces[pieces.length - 1] += token
  }
  return pieces
}

/** What a piece with quotes means. */
export function unquote(piece: string): string {
  return [...piece.matchAll(TOKEN_RE)].map(([token, quoted]) => {
    if (!quoted) return token
    if (token.startsWith('\\')) return token.slice(1)
    const inside = token.slice(1, -1)
    return token.startsWith('"') ? inside.replace(/\\(["\\])/g, '$1') : inside
  }).join('')
}

// --- internal ---

/** What is quoted, or a single character. */
const TOKEN_RE = /('[^']*'|"(?:\\[^]|[^"\\])*"|\\[^])|[^]/gu
