import type { CommandGroup } from '../../framework/command.ts'
import { initConfig } from './config.ts'

export const initGroup: CommandGroup = {
  description: 'Prepare this machine',
  commands: { config: initConfig },
}
