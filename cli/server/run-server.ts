import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { loadConfig } from '#core/config/load.ts'
import { HakuError } from '#core/errors.ts'

/**
 * Becomes the Host or the Runner: their built server is loaded into this process, which ends when the server says so.
 * Signals go to the server, since there is no other process.
 */
export async function runServer(name: 'host' | 'runner', configFile: string | undefined): Promise<never> {
  const { file } = loadConfig(configFile)
  if (file !== undefined) process.env['HAKURIVER_CONFIG'] = file
  // Beside dist/cli, where this code is bundled to.
  const entry = new URL(`../${name}/server/index.mjs`, import.meta.url)
  if (!existsSync(entry)) throw new HakuError('usage.invalid', `There is no ${fileURLToPath(entry)}: build it first, with "npm run build".`)
  await import(entry.href)
  return new Promise(() => {})
}
