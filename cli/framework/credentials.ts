import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { HakuError, errorMessage, systemErrorCode } from '#core/errors.ts'
import { homePaths } from '#core/paths.ts'

/** Host URL → token, as `hakuriver login` stored it, readable for its owner alone. */
export type Credentials = Record<string, string>

/** All stored tokens. @throws `config.invalid` for a file that can not be read */
export function readCredentials(file = homePaths().credentials): Credentials {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (!isCredentials(value)) throw new Error('it is not an object of tokens')
    return value
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return {}
    throw new HakuError('config.invalid', `The file of credentials ${file} can not be read: ${errorMessage(error)}. Remove it and use "hakuriver login" again.`, { cause: error })
  }
}

/** Stores the token of one Host (mode 0600); a reader sees the old file or the new one. */
export function storeCredential(url: string, token: string, file = homePaths().credentials): void {
  const text = `${JSON.stringify({ ...readCredentials(file), [url]: token }, null, 2)}\n`
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.${process.pid}`
  writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' })
  renameSync(temporary, file)
}

// --- internal ---

function isCredentials(value: unknown): value is Credentials {
  return typeof value === 'object' && value !== null && Object.values(value).every((token) => typeof token === 'string')
}
