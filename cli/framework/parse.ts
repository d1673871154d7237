import { type ParseArgsConfig, parseArgs } from 'node:util'
import { HakuError, errorMessage, systemErrorCode } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { nearest } from '#core/nearest.ts'
import { allArgs, type Command, type CommandArgs, type CommandContext, globalArgs, type StringOption } from './command.ts'

/**
 * Reads a command line strictly, by the command's own definition: an unknown option, an option given twice that is not
 * repeatable, an argument too many or too few is `usage.invalid`. citty's own parser lets all of these pass.
 *
 * With a rest argument, options end at `--` or at the first word that is none, as in `docker run`; what follows is not
 * looked at.
 */
export function parseCommandLine(command: Command, argv: string[]): CommandContext {
  const defs = allArgs(command)
  const explicit = joinValues(defs, argv, command.rest !== undefined)
  const split = command.rest ? splitRest(defs, explicit) : { own: explicit, rest: [] }
  const { values, positionals } = parseStrict(defs, split.own)
  // Whoever asks for help is not told what is missing.
  if (values['help'] !== true) {
    assertPositionals(defs, positionals)
    assertRequired(command, values)
    if (command.rest && split.rest.length === 0) throw usage(`${command.rest.name.toUpperCase()} is missing: write it after all options, best behind "--".`)
  }
  return { args: { ...optionValues(defs, values), ...positionalValues(defs, positionals) } as CommandContext['args'], rest: split.rest }
}

/** Splits `argv` before the first word that is no global option and no value of one: `--config FILE docker …`. */
export function splitGlobals(argv: string[]): { globals: string[]; rest: string[] } {
  const index = firstWord(globalArgs, argv)?.index ?? argv.length
  return { globals: argv.slice(0, index), rest: argv.slice(index) }
}

/** Reads the options that every command knows, alone. @throws `usage.invalid` */
export function parseGlobals(argv: string[]): Record<string, unknown> {
  return parseStrict(globalArgs, argv).values
}

export function usage(message: string, cause?: unknown): HakuError {
  return new HakuError('usage.invalid', message, { cause })
}

// --- internal ---

type Values = Record<string, string | boolean | (string | boolean)[] | undefined>

function parseStrict(defs: CommandArgs, argv: string[]): { values: Values; positionals: string[] } {
  try {
    const { values, positionals, tokens } = parseArgs({ args: argv, options: parserOptions(defs), strict: true, allowPositionals: true, tokens: true })
    const given = new Set<string>()
    for (const token of tokens) {
      if (token.kind !== 'option') continue
      const def = defs[token.name]
      if (def?.type === 'string' && !def.multiple && given.has(token.name)) throw usage(`${token.rawName} may be given only once.`)
      given.add(token.name)
    }
    return { values, positionals }
  } catch (error) {
    if (systemErrorCode(error)?.startsWith('ERR_PARSE_ARGS_')) throw usage(explain(error, defs), error)
    throw error
  }
}

/**
 * Joins options with values that Node's parser could not tell from what follows: those that were left out, and numbers below 0, since no option
 * of ours is a digit. With `hasRest` only before the first word.
 */
function joinValues(defs: CommandArgs, argv: string[], hasRest: boolean): string[] {
  const written: string[] = []
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? ''
    const next = argv[index + 1] ?? ''
    if (word === '--' || (hasRest && !word.startsWith('-'))) return [...written, ...argv.slice(index)]
    const def = optionOf(defs, word)
    if (def?.implied !== undefined && !/^\d+$/.test(next)) written.push(`${word}=${def.implied}`)
    else if (def && NEGATIVE_RE.test(next)) written.push(`${word}${word.startsWith('--') ? '=' : ''}${argv[++index]}`)
    else if (def && index + 1 < argv.length) written.push(word, argv[++index] ?? '')
    else written.push(word)
  }
  return written
}

const NEGATIVE_RE = /^-\d/

/** The option with a value that `word` is, if it is no more than that. */
function optionOf(defs: CommandArgs, word: string): StringOption | undefined {
  const def = word.startsWith('--') ? defs[word.slice(2)] : Object.values(defs).find((option) => option.type !== 'positional' && option.alias !== undefined && word === `-${option.alias}`)
  return def?.type === 'string' ? def : undefined
}

function parserOptions(defs: CommandArgs): NonNullable<ParseArgsConfig['options']> {
  const options: NonNullable<ParseArgsConfig['options']> = {}
  for (const [name, def] of Object.entries(defs)) {
    if (def.type === 'positional') continue
    options[name] = { type: def.type, multiple: def.type === 'string' && def.multiple === true, ...(def.alias && { short: def.alias }) }
  }
  return options
}

/** One sentence of our own for each complaint of Node's parser. */
function explain(error: unknown, defs: CommandArgs): string {
  const message = errorMessage(error).split('\n')[0] ?? ''
  const option = /'(?:-\w, )?(--?[^\s'=]+)/.exec(message)?.[1] ?? ''
  if (systemErrorCode(error) === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    const names = Object.entries(defs).filter(([, def]) => def.type !== 'positional').map(([name]) => `--${name}`)
    const guess = option.startsWith('--') ? nearest(option, names) : undefined
    return `${quote(option)} is not an option here${guess ? `; did you mean ${guess}?` : '.'}`
  }
  const name = option.replace(/^-+/, '')
  const def = defs[name]
  if (def?.type === 'boolean') return `--${name} takes no value.`
  if (def?.type === 'string') return `--${name} needs a value. One that begins with "-" is written --${name}=VALUE.`
  return message
}

function splitRest(defs: CommandArgs, argv: string[]): { own: string[]; rest: string[] } {
  const first = firstWord(defs, argv)
  if (!first) return { own: argv, rest: [] }
  return { own: argv.slice(0, first.index), rest: argv.slice(first.kind === 'option-terminator' ? first.index + 1 : first.index) }
}

function firstWord(defs: CommandArgs, argv: string[]) {
  const { tokens } = parseArgs({ args: argv, options: parserOptions(defs), strict: false, allowPositionals: true, tokens: true })
  return tokens.find((token) => token.kind !== 'option')
}

function positionalsOf(defs: CommandArgs) {
  return Object.entries(defs).flatMap(([name, def]) => (def.type === 'positional' ? [{ name, def }] : []))
}

function assertPositionals(defs: CommandArgs, given: string[]): void {
  const wanted = positionalsOf(defs)
  const missing = wanted.slice(given.length).filter(({ def }) => def.required !== false)
  if (missing.length > 0) throw usage(`${missing.map(({ name }) => name.toUpperCase()).join(' and ')} ${missing.length > 1 ? 'are' : 'is'} missing.`)
  const last = wanted.at(-1)
  if (given.length > wanted.length && !last?.def.multiple) throw usage(`${quote(given[wanted.length] ?? '')} is one argument too many.`)
  for (const [index, value] of given.entries()) {
    const { name, def } = wanted[index] ?? last ?? {}
    if (!name || !def) continue
    if (def.choices && !def.choices.includes(value)) throw usage(`${name.toUpperCase()} must be ${def.choices.join(' or ')}, not ${quote(value)}.`)
    if (value === '') throw usage(`${name.toUpperCase()} is empty.`)
  }
}

function assertRequired(command: Command, values: Values): void {
  for (const [name, def] of Object.entries(allArgs(command))) {
    if (def.type !== 'string' || !def.required || values[name] !== undefined) continue
    const place = command.rest ? ` before the ${command.rest.name}: what follows its first word is not looked at` : ''
    throw usage(`--${name} is missing. Write --${name} ${def.valueHint.toUpperCase()}${place}.`)
  }
}

function optionValues(defs: CommandArgs, values: Values): Record<string, unknown> {
  const options = Object.entries(defs).filter(([, def]) => def.type !== 'positional')
  return Object.fromEntries(options.map(([name, def]) => [name, values[name] ?? (def.type === 'boolean' ? false : 'multiple' in def ? [] : undefined)]))
}

function positionalValues(defs: CommandArgs, given: string[]): Record<string, string | string[] | undefined> {
  return Object.fromEntries(positionalsOf(defs).map(({ name, def }, index) => [name, def.multiple ? given.slice(index) : given[index]]))
}
