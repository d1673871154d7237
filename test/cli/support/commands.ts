import { type Command, type CommandGroup, isGroup } from '#cli/framework/command.ts'
import { rootCommand } from '#cli/root.ts'

export interface ListedCommand {
  /** `docker create-tar` */
  name: string
  path: string[]
  entry: Command | CommandGroup
}

/** Every command and group below the root, depth first. */
export function listCommands(group: CommandGroup = rootCommand, path: string[] = []): ListedCommand[] {
  return Object.entries(group.commands).flatMap(([name, entry]) => {
    const own = [...path, name]
    return [{ name: own.join(' '), path: own, entry }, ...(isGroup(entry) ? listCommands(entry, own) : [])]
  })
}
