import { readFileSync } from 'node:fs'
import { errorMessage } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { tell } from '../framework/output.ts'
import { usage } from '../framework/parse.ts'
import { assertOwnVariable, decodeText } from '../framework/raw-text.ts'

/** `NAME=VALUE` of each `--env`; a later one of the same name wins, as in `docker run`. @throws `usage.invalid` */
export function parseVariables(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => readVariable('--env', text) ?? wrong('--env', text, 'NAME=VALUE')))
}

/** The same, and `NAME` alone for the variable of this process, as in `docker run`. @throws `usage.invalid` */
export function parseOwnVariables(option: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.flatMap((text) => {
    const given = readVariable(option, text)
    if (given) return [given]
    if (text === '') wrong(option, text, 'NAME=VALUE or NAME')
    assertName(option, text)
    const value = process.env[text]
    if (value === undefined) tell(`${option} ${quote(text)}: there is no such variable here, so the task does not get it.`)
    else assertOwnVariable(option, text, value)
    return value === undefined ? [] : [[text, value] as const]
  }))
}

/** The variables of files as `docker run --env-file` reads them: one on each line, no quotes, `#` begins a comment line. @throws `usage.invalid` */
export function readVariableFiles(option: string, files: readonly string[]): Record<string, string> {
  return Object.assign({}, ...files.map((file) => {
    const lines = readText(option, file).split(/\r?\n/).map((line) => line.trimStart())
    return parseOwnVariables(`${option} ${file}:`, lines.filter((line) => line !== '' && !line.startsWith('#')))
  })) as Record<string, string>
}

// --- internal ---

function readVariable(option: string, text: string): readonly [string, string] | undefined {
  const index = text.indexOf('=')
  if (index < 0) return undefined
  if (index === 0) wrong(option, text, 'NAME=VALUE')
  const name = text.slice(0, index)
  assertName(option, name)
  return [name, text.slice(index + 1)]
}

/** As `docker run --env-file` has it: what stands there with a blank is a mistake of writing. */
function assertName(option: string, name: string): void {
  if (/\s/.test(name)) throw usage(`${option} ${quote(name)} is not a name of a variable: it has a blank.`)
}

function wrong(option: string, text: string, form: string): never {
  throw usage(`${option} ${quote(text)} is not ${form}.`)
}

function readText(option: string, file: string): string {
  try {
    const text = decodeText(readFileSync(file))
    if (text === undefined) throw new Error('it is not UTF-8')
    return text
  } catch (error) {
    throw usage(`${option} ${quote(file)} can not be read: ${errorMessage(error)}.`, error)
  }
}
