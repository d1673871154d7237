import type { Migration } from 'kysely'
import type { TaskWish } from '#core/tasks/states.ts'

/** Tables of `runner.db`. Orders and reports are kept whole, as JSON of the contract. */
export interface Tables {
  tasks: TaskRow
  images: ImageRow
}

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
}
