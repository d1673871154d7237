import type { Kysely } from 'kysely'
import { taskStates, isFinal } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'

const FINAL = taskStates.filter(isFinal)

/** Those of `ids` whose tasks have ended before a time (ISO 8601). */
export async function endedBefore(database: Kysely<Tables>, ids: string[], time: string): Promise<Set<string>> {
  if (ids.length === 0) return new Set()
  const rows = await database.selectFrom('tasks').select('id').where('id', 'in', ids).where('state', 'in', FINAL).where('finished', '<', time).execute()
  return new Set(rows.map(({ id }) => id))
}
