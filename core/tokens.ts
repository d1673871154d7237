import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { HakuError, errorMessage, systemErrorCode } from './errors.ts'
import { createToken } from './ids.ts'

/**
 * Reads a token's file, or writes it (mode 0600) with a new token at the first start.
 *
 * @throws `config.invalid` if the file can be neither read nor written, or is empty
 */
export function readOrCreateToken(file: string, create: () => string = createToken): string {
  try {
    writeFileSync(file, `${create()}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw new HakuError('config.invalid', `The token file ${file} can not be written: ${errorMessage(error)}. Check paths.state_dir.`, { cause: error })
    chmodSync(file, 0o600)
  }
  const token = readFileSync(file, 'utf8').trim()
  if (!token) throw new HakuError('config.invalid', `The token file ${file} is empty. Remove it to get a new token.`)
  return token
}
