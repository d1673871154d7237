import type { Command, CommandUser } from '../linux/command.ts'
import type { FORMAT } from '../keeping/files.ts'
import type { ScopeHandle } from './scope/scope.ts'

/** `order.json`, by the Runner: what to run. */
export interface ProcessOrder extends Command {
  format: typeof FORMAT
  /** `null`: as the Runner. */
  user: CommandUser
  /** Of each channel; what is more is thrown away. `null`: no limit. */
  maxOutputBytes: number | null
  scope: ScopeHandle
  /** A sentence about the limits that this node can not set. */
  missing: string | null
}
