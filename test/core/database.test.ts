import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Kysely, sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase } from '#core/database/open.ts'
import { problemOf } from '#core/http/problems.ts'

interface Tables {
  notes: { id: number; text: string }
}

describe('a state whose disk', () => {
  let directory: string
  let file: string
  let database: Kysely<Tables>

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'hakuriver-database-'))
    file = join(directory, 'state.db')
    const up = (db: Kysely<unknown>) => db.schema.createTable('notes').addColumn('id', 'integer').addColumn('text', 'text').execute()
    database = await openDatabase<Tables>(file, { '001': { up } })
    await database.insertInto('notes').values({ id: 1, text: 'before' }).execute()
  })
  afterEach(async () => {
    await database.destroy()
    rmSync(directory, { recursive: true })
  })

  const write = (db: Kysely<Tables> | Parameters<Parameters<ReturnType<Kysely<Tables>['transaction']>['execute']>[0]>[0]) => db.insertInto('notes').values({ id: 2, text: 'x'.repeat(1_000_000) }).execute()

  it('is full says so, where it is and what to do, and keeps what it has', async () => {
    await sql`PRAGMA max_page_count = 1`.execute(database)
    const full = { code: 'storage.full', message: expect.stringMatching(new RegExp(`${file} can not be written \\(SQLITE_FULL\\)\\. Make room in ${directory}`)) }
    await expect(write(database)).rejects.toMatchObject(full)
    const failure = await database.transaction().execute((transaction) => write(transaction)).catch((error: unknown) => error)
    expect(failure).toMatchObject(full)
    expect(problemOf(failure)).toMatchObject({ status: 503, code: 'storage.full' })
    expect(await database.selectFrom('notes').select('text').execute()).toEqual([{ text: 'before' }])
  })

  it('can not be written says so', async () => {
    await sql`PRAGMA query_only = 1`.execute(database)
    await expect(write(database)).rejects.toMatchObject({ code: 'storage.unavailable', message: expect.stringContaining(file) })
  })

  it('has trouble of another kind tells it as it is', async () => {
    await expect(sql`SELECT nothing`.execute(database)).rejects.toMatchObject({ code: 'SQLITE_ERROR' })
  })

  it('streams rows as before', async () => {
    const rows = []
    for await (const row of database.selectFrom('notes').selectAll().stream()) rows.push(row)
    expect(rows).toEqual([{ id: 1, text: 'before' }])
  })
})
