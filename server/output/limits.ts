import type { Config } from '#core/config/schema.ts'
import { parseSize } from '#core/tasks/sizes.ts'

/** What an execution may print to each of its outputs, in bytes; `null`: no limit. */
export function maxOutputBytes({ max_bytes: size }: Pick<Config['logs'], 'max_bytes'>): number | null {
  return size === '' ? null : parseSize(size)
}
