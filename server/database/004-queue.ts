import { type Kysely, type Migration, sql } from 'kysely'

/** Tasks get batches, instances, a place in the queue and events. */
export const queueMigration: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('tasks').renameTo('tasks_before').execute()
    await createTables(db)
    await copyTasks(db as Kysely<Tables>)
    await db.schema.dropTable('tasks_before').execute()
    await createIndexes(db)
  },
}

// --- internal ---

async function createTables(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('tasks')
    .addColumn('number', 'integer', (column) => column.primaryKey())
    .addColumn('id', 'text', (column) => column.notNull().unique())
    .addColumn('batch', 'integer')
    .addColumn('item_index', 'integer')
    .addColumn('variables', 'text')
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('wish', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .addColumn('message', 'text')
    .addColumn('exit_code', 'integer')
    .addColumn('instance', 'integer', (column) => column.notNull())
    .addColumn('node', 'text')
    .addColumn('target', 'text')
    .addColumn('environment', 'text')
    .addColumn('version', 'integer')
    .addColumn('submitter', 'text', (column) => column.notNull())
    .addColumn('priority', 'integer', (column) => column.notNull())
    .addColumn('rank', 'real', (column) => column.notNull())
    .addColumn('retries_left', 'integer', (column) => column.notNull())
    .addColumn('not_before', 'integer')
    .addColumn('gpu_ids', 'text')
    .addColumn('numa_node', 'integer')
    .addColumn('submitted', 'text', (column) => column.notNull())
    .addColumn('started', 'text')
    .addColumn('finished', 'text')
    .addColumn('sequence', 'integer', (column) => column.notNull())
    .addColumn('stdout_bytes', 'integer')
    .addColumn('stderr_bytes', 'integer')
    .addColumn('size', 'integer')
    .addColumn('pending', 'text')
    .addColumn('unplaced', 'text')
    .addColumn('counts', 'text')
    .addColumn('events', 'text', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('task_specs')
    .addColumn('number', 'integer', (column) => column.primaryKey())
    .addColumn('spec', 'text', (column) => column.notNull())
    .addColumn('items', 'text')
    .execute()
  await db.schema
    .createTable('submit_keys')
    .addColumn('number', 'integer', (column) => column.primaryKey())
    .addColumn('key', 'text', (column) => column.notNull().unique())
    .execute()
}

/** Each filter of lists comes in two halves, tasks and batches (`top`) and items, so that a page of either is read from one index in its order. */
async function createIndexes(db: Kysely<unknown>): Promise<void> {
  for (const column of ['state', 'node', 'environment', 'submitter']) {
    await sql`CREATE INDEX ${sql.raw(`tasks_top_${column}`)} ON tasks (${sql.ref(column)}, number) WHERE batch IS NULL`.execute(db)
    await sql`CREATE INDEX ${sql.raw(`tasks_item_${column}`)} ON tasks (${sql.ref(column)}, number) WHERE batch IS NOT NULL`.execute(db)
  }
  await sql`CREATE INDEX tasks_top ON tasks (number) WHERE batch IS NULL`.execute(db)
  await sql`CREATE INDEX tasks_item ON tasks (batch, number) WHERE batch IS NOT NULL`.execute(db)
}

interface Tables {
  tasks_before: Before
  tasks: Record<string, string | number | null>
  task_specs: { number: number; spec: string }
}

interface Before extends Record<'id' | 'state' | 'wish' | 'environment' | 'pinned' | 'command' | 'env' | 'mounts' | 'submitted', string> {
  reason: string | null
  message: string | null
  exit_code: number | null
  node: string | null
  target: string | null
  version: number
  cores: number
  memory_bytes: number | null
  started: string | null
  finished: string | null
  sequence: number
  stdout_bytes: number | null
  stderr_bytes: number | null
}

const ROWS_AT_A_TIME = 500

async function copyTasks(db: Kysely<Tables>): Promise<void> {
  let last = ''
  for (let number = 1; ; ) {
    const rows = await db.selectFrom('tasks_before').selectAll().where('id', '>', last).orderBy('id').limit(ROWS_AT_A_TIME).execute()
    for (const row of rows) {
      await db.insertInto('tasks').values(toTask(row, number)).execute()
      await db.insertInto('task_specs').values({ number, spec: toSpec(row) }).execute()
      number++
      last = row.id
    }
    if (rows.length < ROWS_AT_A_TIME) return
  }
}

function toTask({ pinned: _pinned, command: _command, env: _env, mounts: _mounts, cores: _cores, memory_bytes: _memory, ...row }: Before, number: number): Record<string, string | number | null> {
  // What was given to a node was given once. Nobody wrote down more than when it was submitted.
  return { ...row, number, instance: row.node === null ? 0 : 1, submitter: '', priority: 0, rank: number, retries_left: 0, events: JSON.stringify([[0, 'S']]) }
}

function toSpec({ pinned, command, env, mounts, cores, memory_bytes: memoryBytes }: Before): string {
  const spec = { pinned: JSON.parse(pinned) as unknown, command: JSON.parse(command) as unknown, env: JSON.parse(env) as unknown, mounts: JSON.parse(mounts) as unknown, cores, memoryBytes }
  return JSON.stringify(spec)
}
