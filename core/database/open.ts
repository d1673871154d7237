import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { Kysely, type Migration, Migrator, SqliteDialect } from 'kysely'
import { HakuError, errorMessage, isHakuError } from '../errors.ts'
import { connect, diskError } from './connect.ts'

/**
 * Opens (or creates) an SQLite file and brings its tables up to date.
 *
 * WAL with `synchronous = FULL`: what was answered to a client is on the disk, also after a power loss.
 *
 * @param migrations by name, run in the order of their names
 * Whatever is asked of it fails with `storage.full` or `storage.unavailable` where its disk is full or fails.
 *
 * @throws `internal.error` if the file can not be opened or is of a newer HakuRiver; `storage.full`, `storage.unavailable`
 */
export async function openDatabase<Tables>(file: string, migrations: Record<string, Migration>): Promise<Kysely<Tables>> {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const kysely = new Kysely<Tables>({ dialect: new SqliteDialect({ database: connect(file) }) })
    const { error } = await new Migrator({ db: kysely, provider: { getMigrations: () => Promise.resolve(migrations) } }).migrateToLatest()
    if (error) throw error
    return kysely
  } catch (found) {
    const error = diskError(found, file)
    if (isHakuError(error)) throw error
    throw new HakuError('internal.error', `The state in ${file} can not be opened: ${errorMessage(error)}. If it was written by a newer HakuRiver, run that one; if it is damaged, move it aside and start again.`, { cause: error })
  }
}
