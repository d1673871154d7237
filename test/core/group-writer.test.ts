import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Kysely } from 'kysely'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createGroupWriter, type GroupWriter } from '#core/database/group-writer.ts'
import { openDatabase } from '#core/database/open.ts'

interface Tables {
  notes: { id: number; text: string }
}

let directory: string
let database: Kysely<Tables>
let writer: GroupWriter
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-writer-'))
  const up = (db: Kysely<unknown>) => db.schema.createTable('notes').addColumn('id', 'integer', (column) => column.primaryKey()).addColumn('text', 'text').execute()
  database = await openDatabase<Tables>(join(directory, 'state.db'), { '001': { up } })
  writer = createGroupWriter(join(directory, 'state.db'))
})
afterEach(async () => {
  writer.close()
  await database.destroy()
  rmSync(directory, { recursive: true })
})

const insert = (...ids: number[]) => ids.map((id) => database.insertInto('notes').values({ id, text: 'x' }).compile())
const ids = async () => (await database.selectFrom('notes').select('id').orderBy('id').execute()).map(({ id }) => id)

describe('a group writer', () => {
  it('writes what comes together, in its order, and tells before anybody can read it', async () => {
    const seen: string[] = []
    const writes = [1, 2, 3].map((id) => writer.write({ statements: insert(id), isDurable: id === 2, onWritten: () => void seen.push(`written ${id}`) }).then(() => seen.push(`resolved ${id}`)))
    expect(await ids()).toEqual([])
    await Promise.all(writes)
    expect(seen.slice(0, 3)).toEqual(['written 1', 'written 2', 'written 3'])
    expect(await ids()).toEqual([1, 2, 3])
  })

  it('fails alone what can not be written, with nothing of it done', async () => {
    const results = await Promise.allSettled([writer.write({ statements: insert(1), isDurable: true }), writer.write({ statements: insert(2, 1), isDurable: true }), writer.write({ statements: insert(3), isDurable: false })])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await ids()).toEqual([1, 3])
  })

  it('lets others in between two large transactions', async () => {
    const range = (from: number, count: number) => insert(...Array.from({ length: count }, (_, index) => from + index))
    const large = [writer.write({ statements: range(1, 900), isDurable: false }), writer.write({ statements: range(1001, 900), isDurable: false }), writer.write({ statements: range(2001, 3000), isDurable: false })]
    await large[0]
    expect(await ids()).toHaveLength(900)
    await Promise.all(large)
    expect(await ids()).toHaveLength(4800)
  })

  it('writes what is due when it closes, and nothing afterwards', async () => {
    const due = writer.write({ statements: insert(1), isDurable: true })
    writer.close()
    await due
    expect(await ids()).toEqual([1])
    await expect(writer.write({ statements: insert(2), isDurable: true })).rejects.toThrow(expect.objectContaining({ code: 'host.stopping' }))
    writer = createGroupWriter(join(directory, 'state.db'))
  })
})
