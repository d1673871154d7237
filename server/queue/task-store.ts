import { EventEmitter } from 'node:events'
import type { Kysely } from 'kysely'
import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'
import { isFinal } from '#core/tasks/states.ts'
import type { Tables } from '../database/tables.ts'
import { type TaskRecord, fromRow, toChanges, toRow } from './task-record.ts'

/** Tasks on disk, the unfinished ones in memory too. */
export interface TaskStore {
  add(records: TaskRecord[]): Promise<void>
  /** @throws `task.not_found` */
  get(id: string): Promise<TaskRecord>
  find(id: string): Promise<TaskRecord | undefined>
  /** Unfinished tasks, oldest first. */
  active(): TaskRecord[]
  /** Unfinished tasks of an environment, oldest first. */
  unfinishedOf(environment: string): TaskRecord[]
  /** Those of `ids` that are taken for lost. */
  findLost(ids: string[]): Promise<TaskRecord[]>
  list(query: TaskQuery): Promise<TaskRecord[]>
  /**
   * Changes a task: one change at a time for each task, on the disk before anybody sees it. `change` gets the task as it
   * is then, and returns what is different, or `undefined` to leave it.
   */
  update(id: string, change: (record: TaskRecord) => Partial<TaskRecord> | undefined): Promise<TaskRecord>
  /** `change`: a task as it is after each of its changes, and as it was before. `added`: what was submitted. */
  changes: EventEmitter<TaskStoreEvents>
}

export interface TaskStoreEvents {
  change: [TaskRecord, TaskRecord]
  added: [readonly TaskRecord[]]
}

export interface TaskQuery {
  limit: number
  cursor?: string | undefined
  state?: string | undefined
  node?: string | undefined
  environment?: string | undefined
}

export interface TaskStoreOptions {
  database: Kysely<Tables>
  /** The same database, without waiting for the disk. */
  relaxed: Kysely<Tables>
}

export async function createTaskStore({ database, relaxed }: TaskStoreOptions): Promise<TaskStore> {
  const rows = await database.selectFrom('tasks').selectAll().where('state', 'not in', ['succeeded', 'failed', 'killed', 'out_of_memory', 'timed_out', 'lost']).orderBy('id').execute()
  const active = new Map(rows.map((row) => [row.id, fromRow(row)]))
  const turns = new Map<string, Promise<unknown>>()
  const changes = new EventEmitter<TaskStoreEvents>()
  changes.setMaxListeners(0)

  async function find(id: string): Promise<TaskRecord | undefined> {
    const known = active.get(id)
    if (known) return known
    const row = await database.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirst()
    return row && fromRow(row)
  }

  async function get(id: string): Promise<TaskRecord> {
    const record = await find(id)
    if (!record) throw new HakuError('task.not_found', `There is no task ${quote(id)}. See "hakuriver.task list".`)
    return record
  }

  async function change(id: string, difference: (record: TaskRecord) => Partial<TaskRecord> | undefined): Promise<TaskRecord> {
    const before = await get(id)
    const changed = difference(before)
    if (!changed) return before
    const after = { ...before, ...changed }
    await (isPromise(before, after) ? database : relaxed).updateTable('tasks').where('id', '=', id).set(toChanges(after)).execute()
    if (isFinal(after.state)) active.delete(id)
    else active.set(id, after)
    changes.emit('change', after, before)
    return after
  }

  return {
    changes,
    find,
    get,
    unfinishedOf: (environment) => oldestFirst([...active.values()].filter((task) => task.environment === environment)),
    active: () => oldestFirst([...active.values()]),
    async add(records) {
      await database.insertInto('tasks').values(records.map(toRow)).execute()
      for (const record of records) active.set(record.id, record)
      changes.emit('added', records)
    },
    async findLost(ids) {
      if (ids.length === 0) return []
      const lost = await database.selectFrom('tasks').selectAll().where('state', '=', 'lost').where('id', 'in', ids).execute()
      return lost.map(fromRow)
    },
    async list({ limit, cursor, state, node, environment }) {
      let query = database.selectFrom('tasks').selectAll().orderBy('id', 'desc').limit(limit)
      if (cursor) query = query.where('id', '<', cursor)
      if (state) query = query.where('state', '=', state as TaskRecord['state'])
      if (node) query = query.where('node', '=', node)
      if (environment) query = query.where('environment', '=', environment)
      return (await query.execute()).map(fromRow)
    },
    update(id, difference) {
      const turn = (turns.get(id) ?? Promise.resolve()).then(() => change(id, difference))
      const settled = turn.catch(() => undefined).finally(() => {
        if (turns.get(id) === settled) turns.delete(id)
      })
      turns.set(id, settled)
      return turn
    },
  }
}

// --- internal ---

function oldestFirst(records: TaskRecord[]): TaskRecord[] {
  return records.sort((left, right) => (left.id < right.id ? -1 : 1))
}

/** Whether somebody may rely on the change from now on: an end that a node forgets, a wish that a user was told of. All else is told again. */
function isPromise(before: TaskRecord, after: TaskRecord): boolean {
  return isFinal(after.state) || before.wish !== after.wish
}
