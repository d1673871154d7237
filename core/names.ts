import { HakuError } from './errors.ts'

/**
 * One grammar for environment names. A name is at once a path component of an image repository, a container name, a host
 * name and a part of a file name, so it is the intersection of all of them (distribution/reference `path-component`).
 */
const ENVIRONMENT_NAME_RE = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const NODE_NAME_RE = /^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$/

export const ENVIRONMENT_NAME_RULE = '2 to 63 characters: lower-case letters and digits, separated by single ".", "_", "__" or any number of "-"'

/** Whether `name` may name an environment. */
export function isEnvironmentName(name: string): boolean {
  return name.length >= 2 && name.length <= 63 && ENVIRONMENT_NAME_RE.test(name)
}

/** Throws `environment.name_invalid` unless `name` may name an environment. Never changes the name. */
export function assertEnvironmentName(name: string): void {
  if (!isEnvironmentName(name)) {
    throw new HakuError('environment.name_invalid', `${quote(name)} is not a valid environment name. Use ${ENVIRONMENT_NAME_RULE}.`)
  }
}

/** An environment and, behind `@`, one of its versions: `my-env@1700000000`. */
export interface EnvironmentReference {
  name: string
  /** The current one is meant if it is left out. */
  version?: number
}

/** @throws `environment.name_invalid`, `usage.invalid` */
export function parseEnvironmentReference(text: string): EnvironmentReference {
  const at = text.indexOf('@')
  const name = at < 0 ? text : text.slice(0, at)
  assertEnvironmentName(name)
  if (at < 0) return { name }
  return { name, version: parseVersionNumber(text.slice(at + 1)) }
}

/** The highest number that a version may have. What has a higher one is no version: it was made by somebody else, or by mistake. */
export const MAX_VERSION = 999_999_999_999

/** The number of a version as it is written: no leading zeros, nothing beyond {@link MAX_VERSION}. `undefined` for anything else. */
export function readVersionNumber(text: string): number | undefined {
  return /^(?:0|[1-9]\d{0,11})$/.test(text) ? Number(text) : undefined
}

/** The number of a version: Unix seconds, as in the name of its tarball. @throws `usage.invalid` */
export function parseVersionNumber(text: string): number {
  const version = readVersionNumber(text)
  if (version === undefined) throw new HakuError('usage.invalid', `${quote(text)} is not a version. Write the number that "hakuriver env log" shows, such as 1700000000.`)
  return version
}

/** Whether `name` may name a node. Host names with underscores exist, so they are allowed. */
export function isNodeName(name: string): boolean {
  return NODE_NAME_RE.test(name)
}

/** `text` in quotes for a message, shortened, with control characters and invisible ones escaped. */
export function quote(text: string): string {
  const shortened = text.length > 80 ? `${text.slice(0, 79)}…` : text
  return `"${printable(shortened).replaceAll('"', String.raw`\"`)}"`
}

/** `text` without anything that a terminal would obey: C0, C1, DEL and bidirectional controls are escaped. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001F\u007F-\u009F\u200B-\u200F\u2028-\u202E\u2066-\u2069\uFEFF]/g, (character) => String.raw`\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
