import { readFile } from 'node:fs/promises'
import type { Execution } from '#core/api/schemas.ts'
import type { SharedPaths } from '#core/paths.ts'
import { classifyStartFailure } from '../docker/start-container.ts'
import type { Positions } from '../output-files.ts'

const FAILURE_RE = /^(?:OCI runtime exec failed: )?exec failed: (?<words>.*)$/m
const FAILURE_MAX_BYTES = 4096

/** Some Engines print into the item's own output that its command could not be executed, others refuse to start it. */
export async function readExecFailure(exitCode: number, sizes: Readonly<Positions>, paths: SharedPaths, { id, instance }: Execution): Promise<{ words: string; exitCode: number } | undefined> {
  if ((exitCode !== 126 && exitCode !== 127) || sizes.stdout + sizes.stderr > FAILURE_MAX_BYTES) return undefined
  // Only words for the message depend on it: the exit code stands.
  const texts = await Promise.all([paths.stdout(id, instance), paths.stderr(id, instance)].map((file) => readFile(file, 'utf8').catch(() => '')))
  const words = FAILURE_RE.exec(texts.join('\n'))?.groups?.['words']?.trim()
  return words === undefined ? undefined : { words, exitCode: classifyStartFailure(words).exitCode ?? exitCode }
}
