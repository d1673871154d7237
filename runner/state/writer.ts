import type { Kysely } from 'kysely'
import type { Execution } from '#core/api/schemas.ts'
import { errorMessage } from '#core/errors.ts'
import { toRow } from './rows.ts'
import type { TaskRecord } from './state.ts'
import type { Tables } from './tables.ts'

/** Writes records by their keys. */
export interface Writer {
  /** On the disk when it resolves. */
  write(key: string): Promise<void>
  writeSoon(key: string): void
  close(): Promise<void>
}

/** Group commit: what is due is written together, one transaction after the other. */
export function createWriter(database: Kysely<Tables>, records: ReadonlyMap<string, TaskRecord>): Writer {
  let due = new Set<string>()
  let scheduled: Promise<void> | undefined
  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  async function flush(): Promise<void> {
    const keys = due
    due = new Set()
    try {
      await writeRows(database, records, keys)
    } catch (error) {
      for (const key of keys) due.add(key)
      throw error
    }
  }

  function schedule(): Promise<void> {
    scheduled ??= running.then(() => new Promise<void>((resolve) => setImmediate(resolve))).then(() => {
      scheduled = undefined
      const result = flush()
      running = result.catch(() => undefined)
      return result
    })
    return scheduled
  }

  function flushSoon(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      schedule().catch((error: unknown) => {
        console.error(`[hakuriver] [runner] the state can not be written, trying again: ${errorMessage(error)}`)
        flushSoon()
      })
    }, LAZY_MS)
  }

  return {
    write(key) {
      due.add(key)
      return schedule()
    },
    writeSoon(key) {
      due.add(key)
      flushSoon()
    },
    async close() {
      clearTimeout(timer)
      timer = undefined
      await schedule()
    },
  }
}

// --- internal ---

const LAZY_MS = 100
const ROWS_PER_STATEMENT = 500
/** SQLite bounds the depth of an expression. */
const DELETES_PER_STATEMENT = 200

async function writeRows(database: Kysely<Tables>, records: ReadonlyMap<string, TaskRecord>, keys: ReadonlySet<string>): Promise<void> {
  const rows = [...keys].flatMap((key) => records.get(key) ?? []).map(toRow)
  const removed = [...keys].filter((key) => !records.has(key))
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    await database
      .insertInto('executions')
      .values(rows.slice(start, start + ROWS_PER_STATEMENT))
      .onConflict((conflict) =>
        conflict.columns(['id', 'instance']).doUpdateSet(({ ref }) => ({
          report: ref('excluded.report'),
          acknowledged: ref('excluded.acknowledged'),
          wish: ref('excluded.wish'),
          is_timed_out: ref('excluded.is_timed_out'),
          handle: ref('excluded.handle'),
          cpus: ref('excluded.cpus'),
          released: ref('excluded.released'),
        })),
      )
      .execute()
  }
  for (let start = 0; start < removed.length; start += DELETES_PER_STATEMENT) {
    const executions = removed.slice(start, start + DELETES_PER_STATEMENT).map(executionOf)
    await database.deleteFrom('executions').where(({ and, or }) => or(executions.map(({ id, instance }) => and({ id, instance })))).execute()
  }
}

/** Ids have no dash. */
function executionOf(key: string): Execution {
  const [id = '', instance] = key.split('-')
  return { id, instance: Number(instance) }
}
