import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { Kysely, type Migration, Migrator, SqliteDialect } from 'kysely'
import Database from 'libsql'
import { HakuError, errorMessage } from '../errors.ts'

/**
 * Opens (or creates) an SQLite file and brings its tables up to date.
 *
 * WAL with `synchronous = FULL`: what was answered to a client is on the disk, also after a power loss.
 *
 * @param migrations by name, run in the order of their names
 * @throws `internal.error` if the file can not be opened or is of a newer HakuRiver
 */
export async function openDatabase<Tables>(file: string, migrations: Record<string, Migration>): Promise<Kysely<Tables>> {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const kysely = connect<Tables>(file, 'FULL')
    const { error } = await new Migrator({ db: kysely, provider: { getMigrations: () => Promise.resolve(migrations) } }).migrateToLatest()
    if (error) throw error
    return kysely
  } catch (error) {
    throw new HakuError('internal.error', `The state in ${file} can not be opened: ${errorMessage(error)}. If it was written by a newer HakuRiver, run that one; if it is damaged, move it aside and start again.`, { cause: error })
  }
}

/**
 * A second connection to an open database, for changes that may be lost in a power loss (not in a crash) because they come
 * again by themselves: it does not wait for the disk, which takes milliseconds while an Engine writes.
 */
export function openRelaxed<Tables>(file: string): Kysely<Tables> {
  return connect<Tables>(file, 'NORMAL')
}

// --- internal ---

function connect<Tables>(file: string, synchronous: 'FULL' | 'NORMAL'): Kysely<Tables> {
  const database = new Database(file)
  database.pragma('journal_mode = WAL')
  database.pragma(`synchronous = ${synchronous}`)
  database.pragma('foreign_keys = ON')
  database.pragma('busy_timeout = 5000')
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
}
