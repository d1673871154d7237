import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sql } from 'kysely'
import { ulid } from 'ulid'
import { submitBody, taskQuery } from '#core/api/schemas.ts'
import { createGroupWriter } from '#core/database/group-writer.ts'
import { openDatabase } from '#core/database/open.ts'
import { migrations } from '#server/database/migrations.ts'
import type { Tables } from '#server/database/tables.ts'
import { makeRecords } from '#server/queue/make-records.ts'
import type { TaskRecord } from '#server/queue/task-record.ts'
import { createTaskQueries } from '#server/queue/task-queries.ts'
import { createTaskStore } from '#server/queue/task-store.ts'
import { createTaskWrites } from '#server/queue/task-writes.ts'

let directory: string
let file: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hakuriver-tasks-'))
  file = join(directory, 'host.db')
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('a database of the version before', () => {
  const before = Object.fromEntries(Object.entries(migrations).filter(([name]) => name < '004'))
  const pinned = { fileName: 'my-env-7.tar', configDigest: null, manifestDigest: null }
  const row = {
    id: '01kc5n0000000000000000000a', state: 'succeeded', wish: 'run', reason: 'exited', message: null, exit_code: 0, node: 'a', target: 'a', environment: 'my-env', version: 7, pinned: JSON.stringify(pinned), command: '["echo","a b"]', env: '{"X":"1"}',
    mounts: '["/a:/b"]', cores: 2, memory_bytes: 5e9, submitted: '2025-12-11T00:00:00.000Z', started: '2025-12-11T00:00:01.000Z', finished: '2025-12-11T00:00:02.000Z', sequence: 9, stdout_bytes: 5, stderr_bytes: 0,
  }

  it('keeps its tasks, what ran and what waits', async () => {
    const old = await openDatabase<{ tasks: typeof row }>(file, before)
    await old.insertInto('tasks').values(row).execute()
    const waiting = { ...row, id: '01kc5n0000000000000000000b', state: 'queued', reason: null, exit_code: null, node: null, target: null, started: null, finished: null, sequence: 0, stdout_bytes: null, stderr_bytes: null }
    await old.insertInto('tasks').values(waiting as unknown as typeof row).execute()
    await old.destroy()
    const database = await openDatabase<Tables>(file, migrations)
    const writer = createGroupWriter(file)
    const store = await createTaskStore({ database, writer })
    expect(await store.get(row.id)).toMatchObject({
      state: 'succeeded', reason: 'exited', exitCode: 0, instance: 1, node: 'a', target: 'a', environment: 'my-env', version: 7, pinned, command: ['echo', 'a b'], env: { X: '1' }, mounts: ['/a:/b'], cores: 2, memoryBytes: 5e9,
      submitted: row.submitted, started: row.started, finished: row.finished, sequence: 9, stdoutBytes: 5, stderrBytes: 0, priority: 0, after: [], retries: 0, signal: 'SIGTERM', graceSeconds: 10, items: null, batch: null,
      events: [{ time: row.submitted, event: 'submitted', by: 'user', instance: 0, node: null, message: null }],
    })
    expect(store.live.waiting().map(({ id, instance }) => [id, instance])).toEqual([[waiting.id, 0]])
    expect((await store.queries.list(taskQuery.parse({}))).items.map(({ id }) => id)).toEqual([waiting.id, row.id])
    expect(store.nextNumber()).toBe(3)
    writer.close()
    await database.destroy()
  })
})

describe('many tasks', () => {
  it('take a kilobyte each at most, and a page of a filter is read from its index', async () => {
    const database = await openDatabase<Tables>(file, migrations)
    const writer = createGroupWriter(file)
    const writes = createTaskWrites(database, writer)
    const pinned = { fileName: 'my-python-env-1766000000.tar', configDigest: `sha256:${'a'.repeat(64)}`, manifestDigest: `sha256:${'b'.repeat(64)}` }
    const count = 3000
    for (let number = 1; number <= count; number++) {
      const body = submitBody.parse({ command: ['python', 'train.py', '--seed', String(number)], environment: `env-${number % 7}`, env: { SEED: String(number) } })
      const [task] = makeRecords({ body, resolved: { version: 1_766_000_000, pinned }, by: 'user klaus', submitter: `user-${number % 5}`, nextNumber: () => number })
      if (!task) continue
      const node = `node${number % 11}`
      const time = task.submitted
      const events: TaskRecord['events'] = [...task.events, ...(['assigned', 'starting', 'running', 'succeeded'] as const).map((event) => ({ time, event, by: event === 'assigned' ? 'host' : `node ${node}`, instance: 1, node, message: null }))]
      void writes.add([task], { key: `a key of 26 characters ${number}`, digest: 'a digest of 22 letters' }, () => undefined)
      const done = writes.change([{ before: task, after: { ...task, state: number % 3 ? 'succeeded' : 'failed', node, instance: 1, exitCode: 0, started: time, finished: time, reason: 'exited', sequence: 7, stdoutBytes: 100, stderrBytes: 0, events } }], { batchNumber: null, isDurable: false, onWritten: () => undefined })
      if (number % 500 === 0) await done
    }
    const { rows: [pages] } = await sql<{ bytes: number }>`SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()`.execute(database)
    expect((pages?.bytes ?? Infinity) / count).toBeLessThan(1000)

    const queries = createTaskQueries(database)
    const numbersOf = async (query: object) => (await queries.list(taskQuery.parse({ limit: 3, ...query }))).items.map(({ number }) => number)
    expect(await numbersOf({})).toEqual([3000, 2999, 2998])
    expect(await numbersOf({ state: 'failed' })).toEqual([3000, 2997, 2994])
    expect(await numbersOf({ node: 'node4', level: 'top' })).toEqual([2996, 2985, 2974])
    expect(await numbersOf({ environment: 'env-0', submitter: 'user-0' })).toEqual([2975, 2940, 2905])
    expect(await numbersOf({ state: 'failed', node: 'node4', cursor: '2900' })).toEqual([2886, 2853, 2820])
    expect(await numbersOf({ state: 'running' })).toEqual([])
    expect(await numbersOf({ cursor: 'nonsense' })).toEqual([])
    expect(await numbersOf({ since: '2099-01-01T00:00:00Z' })).toEqual([])
    writer.close()
    await database.destroy()
  })

  it('have ids in the order of their numbers, even if the clock was set back between two Hosts', async () => {
    const database = await openDatabase<Tables>(file, migrations)
    const writer = createGroupWriter(file)
    const submit = async (change: Partial<TaskRecord>) => {
      const store = await createTaskStore({ database, writer })
      const [task] = makeRecords({ body: submitBody.parse({ command: ['x'], environment: 'e-e' }), resolved: null, by: 'user', submitter: '', nextNumber: store.nextNumber })
      await store.add(task ? [{ ...task, ...change }] : [])
      return change.id ?? task?.id ?? ''
    }
    const first = await submit({ id: ulid(Date.parse('2099-01-01')).toLowerCase() })
    expect([first, await submit({})].toSorted()[0]).toBe(first)
    writer.close()
    await database.destroy()
  })

  it('are told from which time they are by their ids', async () => {
    const database = await openDatabase<Tables>(file, migrations)
    const writer = createGroupWriter(file)
    const store = await createTaskStore({ database, writer })
    const submit = async (time: string, items: { kind: 'array'; indexes: string } | null) => {
      const records = makeRecords({ body: submitBody.parse({ command: ['x'], environment: 'e-e', items }), resolved: null, by: 'user', submitter: '', nextNumber: store.nextNumber })
      const id = ulid(Date.parse(time)).toLowerCase()
      await store.add(records.map((record) => ({ ...record, id })))
      return id
    }
    const since = '2026-01-01T00:00:00.000Z'
    await submit('2025-12-31T23:59:59.999Z', null)
    const batch = await submit(since, { kind: 'array', indexes: '1-3' })
    await store.update(`${batch}.2`, () => ({ state: 'killed' }), 'test')
    const last = await submit('2026-01-01T00:00:00.001Z', null)
    expect((await store.queries.list(taskQuery.parse({ since }))).items.map(({ id }) => id)).toEqual([last, batch, `${batch}.2`])
    writer.close()
    await database.destroy()
  })
})
