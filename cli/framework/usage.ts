import { stripVTControlCharacters } from 'node:util'
import { type ArgsDef, renderUsage } from 'citty'
import { allArgs, type Command, type CommandGroup, globalArgs, isGroup } from './command.ts'

/** The help of a command or a group, in citty's layout. `path` is how it is called: `['hakuriver', 'docker']`. */
export async function renderHelp(entry: Command | CommandGroup, path: string[], colours: boolean): Promise<string> {
  const meta = { name: path.at(-1) ?? '', description: entry.description }
  const parent = { meta: { name: path.slice(0, -1).join(' ') } }
  const text = isGroup(entry)
    ? await renderUsage({ meta, args: globalArgs, subCommands: Object.fromEntries(Object.entries(entry.commands).map(([name, sub]) => [name, { meta: { name, description: sub.description } }])) }, parent)
    : await renderUsage({ meta, args: usageArgs(entry) }, parent)
  const notes = isGroup(entry) ? '' : `${entry.notes ? `\n${entry.notes}\n` : ''}\n${formatExample(entry.example)}\n`
  const whole = `${text.trimEnd()}\n${notes}`
  return colours ? whole : stripVTControlCharacters(whole).replace(/ +$/gm, '')
}

/** Whether `stream` shows colours to a person who wants them. */
export function wantsColours(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && !process.env['NO_COLOR']
}

// --- internal ---

function formatExample(example: string): string {
  return example.split('\n').map((line, index) => `${index === 0 ? 'Example: ' : '         '}${line}`).join('\n')
}

function usageArgs(command: Command): ArgsDef {
  const args: ArgsDef = {}
  for (const [name, def] of Object.entries(allArgs(command))) {
    if (def.type === 'positional') args[def.multiple ? `${name}...` : name] = def
    else if (def.type === 'string' && def.implied) args[name] = { ...def, valueHint: `[${def.valueHint}]` }
    else args[name] = def.type === 'string' && def.multiple ? { ...def, description: `${def.description} (repeatable)` } : def
  }
  return command.rest ? { ...args, [`${command.rest.name}...`]: { type: 'positional', description: command.rest.description } } : args
}
