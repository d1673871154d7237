import type { Environment, Version } from '#core/api/schemas.ts'
import { parseEnvironmentReference } from '#core/names.ts'
import { formatSize } from '#core/tasks/sizes.ts'
import type { HostClient } from '../framework/connection.ts'
import { formatTable, formatTime } from '../framework/output.ts'
import { usage } from '../framework/parse.ts'

/** All versions of an environment, newest first. */
export function versionsOf({ latest, older }: Environment): Version[] {
  return [latest, ...older]
}

/** The version that is meant where none is named; the newest where none can be used. */
export function currentOf(environment: Environment): Version {
  return versionsOf(environment).find(({ current }) => current) ?? environment.latest
}

/** The version that `NAME[@VERSION]` names, by its number. */
export async function resolveVersion(client: HostClient, text: string): Promise<{ name: string; version: number }> {
  const { name, version } = parseEnvironmentReference(text)
  return { name, version: version ?? currentOf(await client.call('getEnvironment', { params: { name } })).version }
}

/** `NAME@VERSION` where a version has to be named. @throws `usage.invalid` */
export function requireVersion(text: string): { name: string; version: number } {
  const { name, version } = parseEnvironmentReference(text)
  if (version === undefined) throw usage(`Which version? Write ${name}@VERSION; "hakuriver env log ${name}" shows them.`)
  return { name, version }
}

/** What sets a version apart: `current, pinned`. */
export function stateText({ current, pinned, candidate, damage, restores }: Version): string {
  return [current && 'current', candidate && 'being tested', pinned && 'pinned', damage !== null && 'damaged', restores !== null && `restores ${restores}`].filter(Boolean).join(', ')
}

/** Versions as a table. */
export function formatVersions(versions: readonly Version[]): string {
  const header = ['VERSION', 'CREATED', 'SIZE', 'NEW', 'AUTHOR', 'STATE', 'NODES', 'TASKS', 'MESSAGE']
  return formatTable(header, versions.map((version) => [
    version.version, formatTime(version.created), formatSize(version.size), sizeText(version.newBytes), version.author, stateText(version),
    version.nodes.join(', '), version.tasks.join(', '), version.note,
  ]))
}

export function sizeText(bytes: number | null): string | null {
  return bytes === null ? null : formatSize(bytes)
}
