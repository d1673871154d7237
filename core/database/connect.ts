import { dirname } from 'node:path'
import type { SqliteDatabase, SqliteStatement } from 'kysely'
import Database from 'libsql'
import { errorMessage, HakuError, systemErrorCode } from '../errors.ts'

/**
 * A connection to an SQLite file, WAL with `synchronous = FULL`. Everything is asked here, for transactions too, so trouble of its disk
 * gets the words of the storage: `storage.full`, `storage.unavailable`.
 */
export function connect(file: string): SqliteDatabase {
  const database = new Database(file)
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.pragma('foreign_keys = ON')
  database.pragma('busy_timeout = 5000')
  return withDiskErrors(database, file)
}

const FULL_RE = /^(?:SQLITE_FULL|ENOSPC|EDQUOT)/
const FAILS_RE = /^(?:SQLITE_IOERR|SQLITE_READONLY|EIO|EROFS)/

/** Trouble of the disk in the words of the storage; anything else stays as it is. */
export function diskError(error: unknown, file: string): unknown {
  const code = systemErrorCode(error) ?? ''
  if (FULL_RE.test(code)) {
    return new HakuError('storage.full', `The disk of the state directory is full: ${file} can not be written (${code}). Make room in ${dirname(file)}, or move paths.state_dir, and try again; what was stored before is still there.`, { cause: error })
  }
  if (FAILS_RE.test(code)) {
    return new HakuError('storage.unavailable', `The state in ${file} can not be read or written (${code}: ${errorMessage(error)}). Check the disk of the state directory ${dirname(file)}, how it is mounted and who may write there.`, { cause: error })
  }
  return error
}

// --- internal ---

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
