import type { Kysely, Migration } from 'kysely'
import type { TaskWish } from '#core/tasks/states.ts'

/** Tables of `runner.db`. Orders and reports are kept whole, as JSON of the contract. */
export interface Tables {
  executions: ExecutionRow
  images: ImageRow
}

export interface ExecutionRow {
  id: string
  instance: number
  task_order: string
  report: string
  acknowledged: number
  wish: TaskWish
  /** 0 or 1. */
  is_timed_out: number
  handle: string | null
  cpus: string | null
  released: string | null
}

/** Until 0003. */
export interface TaskRow {
  id: string
  task_order: string
  report: string
  acknowledged: number
  wish: TaskWish
  container_id: string | null
  released: string | null
}

export interface ImageRow {
  environment: string
  version: number
  image_id: string
  /** ISO 8601; at most a minute behind. */
  last_used: string
  /** Bytes. */
  size: number
  /** `[{ digest, size }]`, lowest first; empty for a tarball made by other tools. */
  layers: string
  /** 0 or 1. */
  is_awaited: number
}

export const migrations: Record<string, Migration> = {
  '0001_start': {
    async up(database) {
      await database.schema
        .createTable('tasks')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('task_order', 'text', (column) => column.notNull())
        .addColumn('report', 'text', (column) => column.notNull())
        .addColumn('acknowledged', 'integer', (column) => column.notNull())
        .addColumn('wish', 'text', (column) => column.notNull())
        .addColumn('container_id', 'text')
        .addColumn('released', 'text')
        .execute()
      await database.schema
        .createTable('images')
        .addColumn('environment', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('image_id', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('images_key', ['environment', 'version'])
        .execute()
    },
  },
  '0002_image_use': {
    async up(database) {
      for (const [name, type, value] of [['last_used', 'text', ''], ['size', 'integer', 0], ['layers', 'text', '[]'], ['is_awaited', 'integer', 0]] as const) {
        await database.schema.alterTable('images').addColumn(name, type, (column) => column.notNull().defaultTo(value)).execute()
      }
    },
  },
  '0003_executions': {
    async up(database: Kysely<{ executions: ExecutionRow; tasks: TaskRow }>) {
      await database.schema
        .createTable('executions')
        .addColumn('id', 'text', (column) => column.notNull())
        .addColumn('instance', 'integer', (column) => column.notNull())
        .addColumn('task_order', 'text', (column) => column.notNull())
        .addColumn('report', 'text', (column) => column.notNull())
        .addColumn('acknowledged', 'integer', (column) => column.notNull())
        .addColumn('wish', 'text', (column) => column.notNull())
        .addColumn('is_timed_out', 'integer', (column) => column.notNull())
        .addColumn('handle', 'text')
        .addColumn('cpus', 'text')
        .addColumn('released', 'text')
        .addPrimaryKeyConstraint('executions_key', ['id', 'instance'])
        .execute()
      for (const row of await database.selectFrom('tasks').selectAll().execute()) await database.insertInto('executions').values(firstExecution(row)).execute()
      await database.schema.dropTable('tasks').execute()
    },
  },
}

// --- internal ---

/** A task from the time when each was executed once: what was not to be had then gets the values that it had. */
function firstExecution({ container_id: handle, ...row }: TaskRow): ExecutionRow {
  const { environment, version, fileName, configDigest, manifestDigest, ...order } = JSON.parse(row.task_order) as Record<string, unknown>
  const additions = {
    image: { environment, version, fileName, configDigest, manifestDigest },
    userMounts: [], allowedMounts: [], numaNode: null, gpus: [], user: null, workdir: null, timeLimitSeconds: null, signal: 'SIGTERM', graceSeconds: 10, maxOutputBytes: null, pack: null,
  }
  return {
    ...row,
    instance: 1,
    task_order: JSON.stringify({ ...order, instance: 1, ...additions }),
    report: JSON.stringify({ ...(JSON.parse(row.report) as Record<string, unknown>), instance: 1 }),
    is_timed_out: 0,
    handle,
    cpus: null,
  }
}
