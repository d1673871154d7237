import { systemErrorCode } from '#core/errors.ts'
import { nearest } from '#core/nearest.ts'
import { quote } from '#core/names.ts'
import { version } from '#core/version.ts'
import { type Command, type CommandGroup, isGroup } from './framework/command.ts'
import { exitCodes } from './framework/exit-codes.ts'
import { catchInterrupts } from './framework/interrupts.ts'
import { flush, print, printLine } from './framework/output.ts'
import { parseCommandLine, parseGlobals, splitGlobals, usage } from './framework/parse.ts'
import { assertArguments } from './framework/raw-text.ts'
import { reportError } from './framework/report.ts'
import { renderHelp, wantsColours } from './framework/usage.ts'
import { rootCommand } from './root.ts'

/** The whole life of a process of the command line. `prefix` is what the name of the program says: `['docker']` for `hakuriver.docker`. */
export async function main(prefix: string[], argv: string[]): Promise<void> {
  process.stdout.on('error', (error) => {
    process.exit(systemErrorCode(error) === 'EPIPE' ? exitCodes.brokenPipe : exitCodes.failed)
  })
  // Nobody reads what we would complain about.
  process.stderr.on('error', () => {})
  const code = argv.length === 1 && argv[0] === '--version' ? await printVersion() : await runCommandLine([...prefix, ...argv])
  await flush()
  process.exit(code)
}

// --- internal ---

interface Found {
  entry: Command | CommandGroup
  path: string[]
  /** What is left, options of the whole that stood before the command included. */
  argv: string[]
}

async function printVersion(): Promise<number> {
  await printLine(version)
  return exitCodes.ok
}

async function runCommandLine(argv: string[]): Promise<number> {
  let found: Found = { entry: rootCommand, path: ['hakuriver'], argv }
  try {
    assertArguments(argv)
    while (isGroup(found.entry)) {
      const next = descend(found.entry, found)
      if (!next) return await runGroup(found.entry, found)
      found = next
    }
    return await runLeaf(found.entry, found)
  } catch (error) {
    const end = argv.indexOf('--')
    return reportError(error, { program: found.path.slice(0, 2).join(' '), command: found.path.join(' '), json: argv.slice(0, end < 0 ? undefined : end).includes('--json') })
  }
}

/** One step down, or nothing when no command was named. */
function descend(group: CommandGroup, { path, argv }: Found): Found | undefined {
  const { globals, rest } = splitGlobals(argv)
  const name = rest[0]
  if (name === undefined || name === '--') return undefined
  parseGlobals(globals)
  const entry = Object.hasOwn(group.commands, name) ? group.commands[name] : undefined
  if (!entry) {
    const guess = nearest(name, Object.keys(group.commands))
    throw usage(`${quote(name)} is not a command of ${path.join(' ')}${guess ? `; did you mean ${quote(guess)}?` : '.'}`)
  }
  return { entry, path: [...path, name], argv: [...globals, ...rest.slice(1)] }
}

async function runGroup(group: CommandGroup, { path, argv }: Found): Promise<number> {
  if (parseGlobals(argv)['help']) {
    await print(await renderHelp(group, path, wantsColours(process.stdout)))
    return exitCodes.ok
  }
  process.stderr.write(await renderHelp(group, path, wantsColours(process.stderr)))
  return exitCodes.usage
}

async function runLeaf(command: Command, { path, argv }: Found): Promise<number> {
  const context = parseCommandLine(command, argv)
  if (context.args.help) {
    await print(await renderHelp(command, path, wantsColours(process.stdout)))
    return exitCodes.ok
  }
  if (!command.isServer) catchInterrupts()
  return (await command.run(context)) ?? exitCodes.ok
}
