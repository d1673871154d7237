import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { nearest } from '#core/nearest.ts'
import type { HostClient } from '../framework/connection.ts'
import { tell } from '../framework/output.ts'
import type { TaskFilter } from './pages.ts'

/** @throws `task.not_found` for a batch that there is not, and for what is none */
export async function assertBatch(client: HostClient, { batch: id }: TaskFilter): Promise<void> {
  if (id === undefined) return
  const { items } = await client.call('getTask', { params: { id } })
  if (items === null) throw new HakuError('task.not_found', `The task ${id} is no batch, so it has no items. "hakuriver task show ${id}" shows it.`)
}

/** Nothing was found: a name that nobody has is told, since it may be a mistake of writing. Tasks outlive nodes and environments, so it is no error. */
export async function tellUnknown(client: HostClient, { node, environment }: TaskFilter): Promise<void> {
  if (node !== undefined) tellIfUnknown('node', node, (await client.call('listNodes', {})).items.map(({ hostname }) => hostname))
  if (environment !== undefined && environment !== 'NULL') tellIfUnknown('environment', environment, (await client.call('listEnvironments', {})).items.map(({ name }) => name))
}

// --- internal ---

function tellIfUnknown(kind: string, name: string, known: readonly string[]): void {
  if (known.includes(name)) return
  const guess = nearest(name, [...known])
  tell(`There is no ${kind} ${quote(name)} now, and no task of one${guess ? `; did you mean ${quote(guess)}?` : '.'}`)
}
