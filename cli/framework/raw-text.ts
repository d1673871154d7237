import { readFileSync } from 'node:fs'
import { quote } from '#core/names.ts'
import { usage } from './parse.ts'

/** The bytes, or nothing if they are no UTF-8. */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/**
 * Refuses arguments that are no UTF-8: Node has put U+FFFD for what it did not understand, and would hand that on.
 *
 * @param argv ends as the process's own does
 * @throws `usage.invalid`
 */
export function assertArguments(argv: readonly string[]): void {
  if (!argv.some(isSuspect)) return
  const raw = readEntries('/proc/self/cmdline')
  for (const [index, text] of argv.entries()) {
    if (isSuspect(text) && !isText(raw.at(index - argv.length))) throw usage(`The argument ${quote(text)} is not UTF-8, and only text can be handed on. ${CURE}`)
  }
}

/** The same for a variable that this process was started with. @throws `usage.invalid` */
export function assertOwnVariable(option: string, name: string, value: string): void {
  if (!isSuspect(value)) return
  const prefix = Buffer.from(`${name}=`).toString('latin1')
  if (!isText(readEntries('/proc/self/environ').find((entry) => entry.startsWith(prefix)))) throw usage(`${option} ${quote(name)}: its value here is not UTF-8, and only text can be handed on. ${CURE}`)
}

// --- internal ---

const CURE = 'Put it into a file, or encode it, as with base64.'

function isSuspect(text: string): boolean {
  return text.includes('\uFFFD')
}

/** Where the system does not show the bytes, nobody will have meant that character. */
function isText(latin1: string | undefined): boolean {
  return latin1 !== undefined && decodeText(Buffer.from(latin1, 'latin1')) !== undefined
}

/** Each ends with a NUL. A character stands for a byte. */
function readEntries(file: string): string[] {
  try {
    return readFileSync(file, 'latin1').split('\0').slice(0, -1)
  } catch {
    return []
  }
}
