import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openDatabase } from '#core/database/open.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { createOperations } from '#server/operations/operations.ts'

it('an operation that there is not can not be shown, followed or cancelled', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'hakuriver-operations-'))
  const database = await openDatabase<Tables>(join(directory, 'host.db'), migrations)
  const operations = createOperations(database)
  const refusal = expect.objectContaining({ code: 'operation.not_found', message: 'There is no operation "ghost".' })
  await expect(operations.get('ghost')).rejects.toThrow(refusal)
  await expect(operations.follow('ghost', new AbortController().signal)).rejects.toThrow(refusal)
  await expect(operations.cancel('ghost')).rejects.toThrow(refusal)
  await database.destroy()
  rmSync(directory, { recursive: true })
})
