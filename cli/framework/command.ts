import type { ArgDef } from 'citty'

/** A switch: given or not. */
export interface BooleanOption {
  type: 'boolean'
  description: string
  /** One letter. */
  alias?: string
}

/** An option with a value. */
export interface StringOption {
  type: 'string'
  description: string
  valueHint: string
  alias?: string
  required?: true
  /** May be given again and again; the command gets all values, in order. Others are refused when given twice. */
  multiple?: true
  /** What it means without a value. Then only a number behind it is taken for one: `--parallel`, `--parallel 4`, `--parallel=4`. */
  implied?: string
}

/** An argument by position. Required unless said otherwise. */
export interface Positional {
  type: 'positional'
  description: string
  required?: false
  /** The words it may be. */
  choices?: readonly string[]
  /** The last one: it takes all that are left, in order. */
  multiple?: true
}

/** citty's argument definition with what its own parser lacks: repeatable options and arguments, values that may be left out, and choices by position. */
export type CommandArg = (BooleanOption | StringOption | Positional) & ArgDef
export type CommandArgs = Record<string, CommandArg>

/** What `run` gets for one argument. */
export type ArgValue<A> = A extends { type: 'boolean' }
  ? boolean
  : A extends { multiple: true }
    ? string[]
    : A extends { type: 'positional'; required: false }
      ? string | undefined
      : A extends { type: 'positional' } | { required: true }
        ? string
        : string | undefined

/** Everything after the options: a command of the user's that nobody here looks into. */
export interface RestArgument {
  name: string
  description: string
}

/** The options that every command knows. */
export const globalArgs = {
  config: { type: 'string', valueHint: 'file', description: 'Configuration file; else HAKURIVER_CONFIG, else ~/.hakuriver/config.toml' },
  host: { type: 'string', valueHint: 'url', description: 'Host to talk to, such as http://10.0.0.1:8000; else the one of the configuration' },
  json: { type: 'boolean', description: 'Print the objects of the API as JSON, errors too' },
  help: { type: 'boolean', alias: 'h', description: 'Show this help' },
} as const satisfies CommandArgs
export type GlobalArgs = typeof globalArgs

export interface CommandContext<A extends CommandArgs = CommandArgs> {
  args: { [Name in keyof A | keyof GlobalArgs]: ArgValue<(A & GlobalArgs)[Name]> }
  /** The rest argument; empty for a command without one. */
  rest: string[]
}

export interface Command<A extends CommandArgs = CommandArgs> {
  description: string
  args: A
  rest?: RestArgument
  /** A server: it handles signals itself, and the process ends when it says so. */
  isServer?: true
  /** Further lines of the help. */
  notes?: string
  /** How it is used, a command on each line. */
  example: string
  /** Does the work; resolves to the exit code, 0 if to nothing. Imports what is heavy only here. */
  run(context: CommandContext<A>): Promise<number | void>
}

export interface CommandGroup {
  description: string
  commands: Record<string, Command | CommandGroup>
}

/** Keeps the literal types. */
export function defineCommand<const A extends CommandArgs>(command: Command<A>): Command<A> {
  return command
}

export function isGroup(entry: Command | CommandGroup): entry is CommandGroup {
  return 'commands' in entry
}

/** All arguments of a command, its own first. */
export function allArgs(command: Command): CommandArgs {
  return { ...command.args, ...globalArgs }
}
