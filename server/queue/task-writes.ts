import type { Kysely } from 'kysely'
import type { Execution } from '#core/api/schemas.ts'
import type { GroupWriter, Statement } from '#core/database/group-writer.ts'
import type { TaskRow, Tables } from '../database/tables.ts'
import { leftBehind } from './left-behind.ts'
import type { SubmitKey } from './submit-keys.ts'
import type { TaskRecord } from './task-record.ts'
import { encodeSpec, toChanges, toRow } from './task-rows.ts'

/** A task before and after a change; without `before` it came to be. */
export interface TaskChange {
  before: TaskRecord | undefined
  after: TaskRecord
}

export interface TaskWrites {
  /** New tasks, batches and their items, with the key that they were submitted with. On the disk when it resolves. */
  add(records: readonly TaskRecord[], key: SubmitKey | undefined, onWritten: () => void): Promise<void>
  /** All of them or none. `batchNumber`: of items. */
  change(changes: readonly TaskChange[], options: { batchNumber: number | null; isDurable: boolean; onWritten: () => void }): Promise<void>
  /** What a node has told to have no more. */
  forgetLeft(node: string, executions: readonly Execution[], onWritten: () => void): Promise<void>
}

/** Statements are compiled once: what differs is their values. */
export function createTaskWrites(database: Kysely<Tables>, writer: GroupWriter): TaskWrites {
  const insertTask = compiled<TaskRow>((row) => database.insertInto('tasks').values(row).compile())
  const updateTask = compiled<ReturnType<typeof toChanges> & { number: number }>(({ number, ...changes }) => database.updateTable('tasks').set(changes).where('number', '=', number).compile())
  const insertSpec = compiled<Tables['task_specs']>((row) => database.insertInto('task_specs').values(row).compile())
  const insertKey = compiled<Tables['submit_keys']>((row) => database.insertInto('submit_keys').values(row).compile())
  const insertLeft = compiled<Tables['left_behind']>((row) => database.insertInto('left_behind').values(row).onConflict((conflict) => conflict.doNothing()).compile())
  const deleteLeft = compiled<Omit<Tables['left_behind'], 'placed'>>(({ node, id, instance }) => database.deleteFrom('left_behind').where('node', '=', node).where('id', '=', id).where('instance', '=', instance).compile())

  /** What a change of a task leaves on its node is stored with it. */
  function leave({ before, after }: TaskChange): Statement[] {
    const left = leftBehind(before, after)
    return left ? [insertLeft({ node: left.node, id: left.id, instance: left.instance, placed: JSON.stringify(left.placed) })] : []
  }

  return {
    add(records, key, onWritten) {
      const statements: Statement[] = []
      // Of a submission the first stands for all: the task, or the batch.
      const [first] = records
      for (const record of records) {
        const batchNumber = record.batch === null ? null : (first?.number ?? null)
        statements.push(insertTask(toRow(record, batchNumber)))
        if (record.batch === null) statements.push(insertSpec({ number: record.number, spec: encodeSpec(record), items: record.items?.source ? JSON.stringify(record.items.source) : null }))
      }
      if (key && first) statements.push(insertKey({ number: first.number, ...key }))
      return writer.write({ statements, isDurable: true, onWritten })
    },
    change(changes, { batchNumber, isDurable, onWritten }) {
      const statements = changes.map(({ before, after }) => (before ? updateTask({ ...toChanges(after), number: after.number }) : insertTask(toRow(after, batchNumber))))
      return writer.write({ statements: [...statements, ...changes.flatMap(leave)], isDurable, onWritten })
    },
    forgetLeft(node, executions, onWritten) {
      return writer.write({ statements: executions.map(({ id, instance }) => deleteLeft({ node, id, instance })), isDurable: false, onWritten })
    },
  }
}

// --- internal ---

/** A statement with one value for each property, in the order of the properties. */
function compiled<Row extends object>(compile: (row: Row) => { sql: string }): (row: Row) => Statement {
  let sql: string | undefined
  return (row) => ({ sql: (sql ??= compile(row).sql), parameters: Object.values(row) })
}
