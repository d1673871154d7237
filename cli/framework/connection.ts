import { readFileSync } from 'node:fs'
import { type HostApi, hostApi } from '#core/api/host.ts'
import { type Client, createClient } from '#core/client/client.ts'
import { loadConfig } from '#core/config/load.ts'
import type { Config } from '#core/config/schema.ts'
import { HakuError, errorMessage, systemErrorCode } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { hostStatePaths } from '#core/paths.ts'
import { httpUrl } from '#core/urls.ts'
import { readCredentials } from './credentials.ts'
import { loginName } from './login-name.ts'

/** What of the command line says which Host is meant. */
export interface ConnectionArgs {
  config: string | undefined
  host: string | undefined
}

export interface Connection {
  client: Client<HostApi>
  /** `http://host:port` */
  url: string
  token: string | undefined
}

export type HostClient = Client<HostApi>

/** The Host that the command line, the configuration and the environment name, and the token to show there. */
export function connect(args: ConnectionArgs): Connection {
  const { url, config } = resolveHost(args)
  const token = findToken(url, config)
  return { client: createConnection(url, token), url, token }
}

/** The Host's URL, and the configuration unless `--host` names another Host than it. */
export function resolveHost(args: ConnectionArgs): { url: string; config: Config | undefined } {
  const { config } = loadConfig(args.config)
  const { host_reachable_address: address, host_port: port } = config.network
  const configured = new URL(httpUrl(address, port)).origin
  const url = args.host === undefined ? configured : parseHostUrl(args.host)
  return { url, config: url === configured ? config : undefined }
}

export function createConnection(url: string, token: string | undefined): HostClient {
  return createClient({ api: hostApi, url, token, user: loginName(), unreachable: 'host.unreachable' })
}

// --- internal ---

function parseHostUrl(text: string): string {
  const full = text.includes('://') ? text : `http://${text}`
  const url = URL.canParse(full) ? new URL(full) : undefined
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.pathname !== '/' || url.search || url.username) {
    throw new HakuError('usage.invalid', `${quote(text)} is not the URL of a Host. Write http://address:port.`)
  }
  return url.origin
}

/** The first that there is. None at all: the Host's own refusal says what to do. */
function findToken(url: string, config: Config | undefined): string | undefined {
  return process.env['HAKURIVER_TOKEN'] || (config && configuredToken(config)) || readCredentials()[url]
}

/** A token of this configuration belongs to its Host: it is never shown to another. */
function configuredToken(config: Config): string | undefined {
  const named = config.auth.token_file
  try {
    return readFileSync(named || hostStatePaths(config.paths.state_dir).adminToken, 'utf8').trim() || undefined
  } catch (error) {
    if (!named && ['ENOENT', 'EACCES', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined
    throw new HakuError('config.invalid', `The token file ${named} can not be read: ${errorMessage(error)}. Check [auth] token_file.`, { cause: error })
  }
}
