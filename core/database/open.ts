import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { Kysely, type Migration, Migrator, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely'
import Database from 'libsql'
import { HakuError, errorMessage, isHakuError, systemErrorCode } from '../errors.ts'

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
    const kysely = connect<Tables>(file, 'FULL')
    const { error } = await new Migrator({ db: kysely, provider: { getMigrations: () => Promise.resolve(migrations) } }).migrateToLatest()
    if (error) throw error
    return kysely
  } catch (found) {
    const error = diskError(found, file)
    if (isHakuError(error)) throw error
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
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database: withDiskErrors(database, file) }) })
}

/** The one place where SQLite is asked, for transactions too: trouble of its disk gets the words of the storage. */
function withDiskErrors(database: SqliteDatabase, file: string): SqliteDatabase {
  const told = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      throw diskError(error, file)
    }
  }
  return {
    close: () => database.close(),
    prepare(sql) {
      const statement = told(() => database.prepare(sql))
      return {
        reader: statement.reader,
        all: (parameters) => told(() => statement.all(parameters)),
        run: (parameters) => told(() => runStatement(statement, sql, parameters)),
        *iterate(parameters) {
          const rows = told(() => statement.iterate(parameters))[Symbol.iterator]()
          for (let next = told(() => rows.next()); next.done !== true; next = told(() => rows.next())) yield next.value
        },
      }
    },
  }
}

/** A full disk ends a transaction by itself: rolling it back after that would hide why. */
function runStatement(statement: SqliteStatement, sql: string, parameters: readonly unknown[]): ReturnType<SqliteStatement['run']> {
  try {
    return statement.run(parameters)
  } catch (error) {
    if (sql !== 'rollback' || !errorMessage(error).includes('no transaction is active')) throw error
    return { changes: 0, lastInsertRowid: 0 }
  }
}

const FULL_RE = /^(?:SQLITE_FULL|ENOSPC|EDQUOT)/
const FAILS_RE = /^(?:SQLITE_IOERR|SQLITE_READONLY|EIO|EROFS)/

/** Anything else stays as it is. */
function diskError(error: unknown, file: string): unknown {
  const code = systemErrorCode(error) ?? ''
  if (FULL_RE.test(code)) {
    return new HakuError('storage.full', `The disk of the state directory is full: ${file} can not be written (${code}). Make room in ${dirname(file)}, or move paths.state_dir, and try again; what was stored before is still there.`, { cause: error })
  }
  if (FAILS_RE.test(code)) {
    return new HakuError('storage.unavailable', `The state in ${file} can not be read or written (${code}: ${errorMessage(error)}). Check the disk of the state directory ${dirname(file)}, how it is mounted and who may write there.`, { cause: error })
  }
  return error
}
