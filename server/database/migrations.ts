import type { Kysely, Migration } from 'kysely'
import { queueMigration } from './004-queue.ts'

/** In the order of their names. A released migration is never changed. */
export const migrations: Record<string, Migration> = {
  '001-start': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('operations')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('environment', 'text', (column) => column.notNull())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('progress', 'text', (column) => column.notNull())
        .addColumn('created', 'text', (column) => column.notNull())
        .addColumn('finished', 'text')
        .addColumn('result', 'text')
        .addColumn('error', 'text')
        .addColumn('undo', 'text')
        .execute()
      await db.schema.createIndex('operations_state').on('operations').column('state').execute()

      await db.schema
        .createTable('nodes')
        .addColumn('hostname', 'text', (column) => column.primaryKey())
        .addColumn('url', 'text', (column) => column.notNull())
        .addColumn('host_token', 'text', (column) => column.notNull())
        .addColumn('instance_id', 'text', (column) => column.notNull())
        .addColumn('last_heartbeat', 'text', (column) => column.notNull())
        .addColumn('hardware', 'text', (column) => column.notNull())
        .addColumn('usage', 'text', (column) => column.notNull())
        .addColumn('engine', 'text')
        .addColumn('runner_version', 'text', (column) => column.notNull())
        .execute()

      await db.schema
        .createTable('tasks')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('state', 'text', (column) => column.notNull())
        .addColumn('wish', 'text', (column) => column.notNull())
        .addColumn('reason', 'text')
        .addColumn('message', 'text')
        .addColumn('exit_code', 'integer')
        .addColumn('node', 'text')
        .addColumn('target', 'text')
        .addColumn('environment', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('pinned', 'text', (column) => column.notNull())
        .addColumn('command', 'text', (column) => column.notNull())
        .addColumn('env', 'text', (column) => column.notNull())
        .addColumn('mounts', 'text', (column) => column.notNull())
        .addColumn('cores', 'integer', (column) => column.notNull())
        .addColumn('memory_bytes', 'integer')
        .addColumn('submitted', 'text', (column) => column.notNull())
        .addColumn('started', 'text')
        .addColumn('finished', 'text')
        .addColumn('sequence', 'integer', (column) => column.notNull().defaultTo(0))
        .addColumn('stdout_bytes', 'integer')
        .addColumn('stderr_bytes', 'integer')
        .execute()
      await db.schema.createIndex('tasks_state').on('tasks').column('state').execute()
      await db.schema.createIndex('tasks_node').on('tasks').columns(['node', 'state']).execute()
    },
  },
  '002-version-marks': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('version_marks')
        .addColumn('environment', 'text', (column) => column.notNull())
        .addColumn('version', 'integer', (column) => column.notNull())
        .addColumn('pinned', 'integer', (column) => column.notNull())
        .addColumn('candidate', 'integer', (column) => column.notNull())
        .addColumn('damage', 'text')
        .addPrimaryKeyConstraint('version_marks_key', ['environment', 'version'])
        .execute()
    },
  },
  '003-suspected-versions': {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable('version_marks').addColumn('suspected_by', 'text').execute()
    },
  },
  '004-queue': queueMigration,
  '005-node-drain': {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable('nodes').addColumn('drained', 'text').execute()
      await db.schema.alterTable('nodes').addColumn('online', 'integer', (column) => column.notNull().defaultTo(1)).execute()
    },
  },
  '006-notifications': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('notifications')
        .addColumn('task', 'text', (column) => column.primaryKey())
        .addColumn('tries', 'integer', (column) => column.notNull())
        .addColumn('due', 'text')
        .execute()
    },
  },
  '007-submit-digests': {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable('submit_keys').addColumn('digest', 'text').execute()
    },
  },
  '008-left-behind': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('left_behind')
        .addColumn('node', 'text', (column) => column.notNull())
        .addColumn('id', 'text', (column) => column.notNull())
        .addColumn('instance', 'integer', (column) => column.notNull())
        .addColumn('placed', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('left_behind_key', ['node', 'id', 'instance'])
        .execute()
    },
  },
}
