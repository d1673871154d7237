import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { stringifyTOML } from 'confbox/toml'
import type { z } from 'zod'
import { configSchema } from '#core/config/schema.ts'
import { errorMessage, HakuError, systemErrorCode } from '#core/errors.ts'
import { homePaths } from '#core/paths.ts'

/** Writes the explained defaults to `file`, else where the configuration is looked for; never over a file. */
export function writeDefaultConfig(file = process.env['HAKURIVER_CONFIG'] ?? homePaths().config): { file: string; isNew: boolean } {
  const path = resolve(file)
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, renderDefaultConfig(), { flag: 'wx' })
    return { file: path, isNew: true }
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return { file: path, isNew: false }
    throw new HakuError('config.invalid', `${path} can not be written: ${errorMessage(error)}.`, { cause: error })
  }
}

// --- internal ---

function renderSection(name: string, schema: z.ZodObject): string {
  const defaults = schema.parse({})
  const lines = Object.entries(schema.shape).map(([key, value]) => `# ${(value as z.ZodType).description ?? ''}\n# ${stringifyTOML({ [key]: defaults[key] }).trim()}\n`)
  return `[${name}]\n${lines.join('')}`
}

/**
 * Every key with what it means, its default behind a `#`: a home directory may be shared by all nodes, and what one machine
 * found out about itself must not hold for the others.
 */
function renderDefaultConfig(): string {
  const sections = Object.entries(configSchema.shape).map(([name, schema]) => renderSection(name, schema.def.innerType as z.ZodObject))
  return `# HakuRiver. One file serves the Host, the Runners and the command line.\n# What stands behind a "#" is the default: remove the "#" to change it.\n\n${sections.join('\n')}`
}
