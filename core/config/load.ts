import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseTOML } from 'confbox/toml'
import type { z } from 'zod'
import { HakuError, type Issue, errorMessage, systemErrorCode } from '../errors.ts'
import { quote } from '../names.ts'
import { editDistance } from '../nearest.ts'
import { homePaths } from '../paths.ts'
import { type Config, configSchema } from './schema.ts'

export interface LoadedConfig {
  config: Config
  /** Where it was read from; `undefined` when there is no file and the defaults hold. */
  file: string | undefined
}

/**
 * Reads the configuration: `file`, else `HAKURIVER_CONFIG`, else `~/.hakuriver/config.toml` if that exists. What the file
 * does not say keeps its default; `HAKURIVER_<SECTION>_<KEY>` in the environment wins over both.
 *
 * @throws `config.not_found` for a named file that is not there; `config.invalid` with file, key and the nearest known key
 */
export function loadConfig(file?: string, environment: NodeJS.ProcessEnv = process.env): LoadedConfig {
  const named = file ?? environment['HAKURIVER_CONFIG']
  const path = resolve(named ?? homePaths().config)
  const text = readConfigFile(path, named !== undefined)
  const values = text === undefined ? {} : parseFile(text, path)
  applyEnvironment(values, environment)
  const result = configSchema.safeParse(values)
  if (!result.success) throw invalidConfig(result.error, text === undefined ? 'The environment' : path, text)
  return { config: result.data, file: text === undefined ? undefined : path }
}

// --- internal ---

type Values = Record<string, unknown>

function readConfigFile(path: string, isNamed: boolean): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw new HakuError('config.invalid', `The configuration file ${path} can not be read: ${errorMessage(error)}.`, { cause: error })
    if (isNamed) throw new HakuError('config.not_found', `There is no configuration file ${path}. Create it, or leave out --config and HAKURIVER_CONFIG.`)
    return undefined
  }
}

function parseFile(text: string, path: string): Values {
  try {
    return parseTOML<Values>(text)
  } catch (error) {
    throw new HakuError('config.invalid', `${path} is not valid TOML: ${errorMessage(error)}`, { cause: error })
  }
}

/** `HAKURIVER_NETWORK_HOST_PORT=9000` sets `network.host_port`. Variables that name no key are left alone: other tools use the prefix too. */
function applyEnvironment(values: Values, environment: NodeJS.ProcessEnv): void {
  for (const [section, schema] of sections()) {
    for (const key of Object.keys(schema.shape)) {
      const variable = `HAKURIVER_${section}_${key}`.toUpperCase()
      const text = environment[variable]
      if (text === undefined) continue
      const target = (values[section] ??= {})
      if (typeof target !== 'object' || target === null) continue
      ;(target as Values)[key] = fromText(text)
    }
  }
}

/** Numbers, booleans and lists as in TOML; all else is the text itself. */
function fromText(text: string): unknown {
  if (!/^(?:-?\d+(?:\.\d+)?|true|false|\[.*\])$/s.test(text)) return text
  try {
    return parseTOML<{ value: unknown }>(`value = ${text}`).value
  } catch {
    // It only looks like TOML: the schema says what is wrong with it.
    return text
  }
}

function sections(): [string, z.ZodObject][] {
  return Object.entries(configSchema.shape).map(([name, schema]) => [name, schema.def.innerType as z.ZodObject])
}

function invalidConfig(error: z.ZodError, origin: string, text: string | undefined): HakuError {
  const issues: Issue[] = error.issues.flatMap((issue) => {
    const path = issue.path.map(String)
    if (issue.code !== 'unrecognized_keys') return [{ path: path.join('.'), message: issue.message }]
    return issue.keys.map((key) => ({ path: [...path, key].join('.'), message: `is not a known key${suggestion([...path, key])}` }))
  })
  const details = issues.map(({ path, message }) => `${path}${lineOf(text, path)}: ${message}`)
  return new HakuError('config.invalid', `${origin} is not a valid configuration: ${details.join('; ')}. See the table of keys in the README.`, { issues })
}

function suggestion(path: string[]): string {
  const known = sections().flatMap(([section, schema]) => [section, ...Object.keys(schema.shape).map((key) => `${section}.${key}`)])
  const wanted = path.join('.')
  const leaf = path.at(-1) ?? ''
  const distance = (candidate: string) => Math.min(editDistance(candidate, wanted), editDistance(candidate.split('.').at(-1) ?? '', leaf) + 0.5)
  const nearest = known.sort((left, right) => distance(left) - distance(right))[0]
  return nearest ? `; did you mean ${quote(nearest)}?` : ''
}

function lineOf(text: string | undefined, path: string): string {
  const key = path.split('.').at(-1) ?? ''
  const index = text?.split('\n').findIndex((line) => new RegExp(String.raw`^\s*\[?\s*["']?${key.replace(/[^\w-]/g, '.')}\b`).test(line)) ?? -1
  return index < 0 ? '' : ` (line ${index + 1})`
}
