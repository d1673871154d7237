import type { SqliteStatement } from 'kysely'
import { HakuError } from '../errors.ts'
import { connect } from './connect.ts'

/** A statement as Kysely compiles it. */
export interface Statement {
  sql: string
  parameters: readonly unknown[]
}

export interface Write {
  /** Executed in this order: all of them or none. */
  statements: readonly Statement[]
  /**
   * Whether somebody relies on it from now on. What is not durable survives the end of the process, and may be lost in a power
   * loss: it does not wait for the disk, which takes milliseconds while an Engine writes.
   */
  isDurable: boolean
  /** Called as soon as it is written, before anybody can read it. MUST NOT throw. */
  onWritten?: () => void
}

/** Many small changes of one database, written together: what is due at one moment is one transaction. */
export interface GroupWriter {
  /** Resolves when it is written. What was asked for earlier is written earlier. */
  write(write: Write): Promise<void>
  /** Writes what is due; what is asked for afterwards is refused. */
  close(): void
}

/** On a connection of its own; the database must have been opened by `openDatabase` before. */
export function createGroupWriter(file: string): GroupWriter {
  const database = connect(file)
  const prepared = new Map<string, SqliteStatement>()
  const due: Due[] = []
  let isClosed = false
  let isFull: boolean | undefined

  function prepare(sql: string): SqliteStatement {
    const known = prepared.get(sql)
    if (known) return known
    const statement = database.prepare(sql)
    if (prepared.size < MAX_PREPARED) prepared.set(sql, statement)
    return statement
  }

  function run(sql: string): void {
    prepare(sql).run([])
  }

  function setDurable(isDurable: boolean): void {
    if (isFull === isDurable) return
    run(`PRAGMA synchronous = ${isDurable ? 'FULL' : 'NORMAL'}`)
    isFull = isDurable
  }

  function commit(writes: readonly Due[]): void {
    setDurable(writes.some(({ isDurable }) => isDurable))
    run('begin immediate')
    try {
      for (const { statements } of writes) for (const { sql, parameters } of statements) prepare(sql).run(parameters)
      run('commit')
    } catch (error) {
      run('rollback')
      throw error
    }
  }

  function settle(writes: readonly Due[]): void {
    try {
      commit(writes)
    } catch (error) {
      const [only] = writes
      if (writes.length > 1) for (const write of writes) settle([write])
      else only?.reject(error)
      return
    }
    for (const { onWritten, resolve } of writes) {
      onWritten?.()
      resolve()
    }
  }

  /** The process answers to others between two large transactions. */
  function flushSome(): void {
    const writes = takeSome(due)
    if (due.length > 0) setImmediate(flushSome)
    if (writes.length > 0) settle(writes)
  }

  return {
    write(write) {
      return new Promise((resolve, reject) => {
        if (isClosed) throw new HakuError('host.stopping', 'The Host is stopping, and stores nothing more.')
        if (due.length === 0) setImmediate(flushSome)
        due.push({ ...write, resolve, reject })
      })
    },
    close() {
      isClosed = true
      if (due.length > 0) settle(due.splice(0))
      database.close()
    },
  }
}

// --- internal ---

interface Due extends Write {
  resolve(): void
  reject(error: unknown): void
}

const MAX_PREPARED = 200
const STATEMENTS_AT_A_TIME = 1000

/** Takes the first out of `due`, and leaves the others. */
function takeSome(due: Due[]): Due[] {
  let statements = 0
  const end = due.findIndex((write) => (statements += write.statements.length) > STATEMENTS_AT_A_TIME)
  return due.splice(0, end === -1 ? due.length : Math.max(1, end))
}
