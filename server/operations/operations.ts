import { EventEmitter } from 'node:events'
import { Readable } from 'node:stream'
import type { Kysely } from 'kysely'
import type { Container, Operation, OperationProgress, Version } from '#core/api/schemas.ts'
import { errorMessage, HakuError, isHakuError } from '#core/errors.ts'
import { createId } from '#core/ids.ts'
import { problemOf } from '#core/http/problems.ts'
import { quote } from '#core/names.ts'
import type { OperationRow, Tables } from '../database/tables.ts'
import { waitFor } from '../wait-for.ts'
import { type Followed, followOperation, toEvent } from './follow.ts'

type Result = Container | Version
type Undo = (operation: { kind: Operation['kind']; stored: unknown }) => Promise<void>

/** What the work of an operation gets. */
export interface OperationContext {
  id: string
  /** Fires on cancel and when the Host stops. The work then undoes what it did and rejects. */
  signal: AbortSignal
  /** Tells where it stands. Stored at each change of phase; between, only followers hear of it. */
  report(progress: Partial<OperationProgress> & { phase: string }): Promise<void>
  /** Stores what a start after a crash must undo; the work sets `null` once nothing is to be undone any more. */
  setUndo(undo: unknown): Promise<void>
}

export interface Operations {
  /**
   * Starts work on an environment in the background; one at a time for each environment, unless it is `shared`.
   *
   * @throws `environment.busy`
   */
  start(kind: Operation['kind'], environment: string, work: (context: OperationContext) => Promise<Result>, options?: StartOptions): Promise<Operation>
  /** Runs something short under the same lock. @throws `environment.busy` */
  exclusively<T>(environment: string, work: () => Promise<T>): Promise<T>
  /** Holds the answer until the operation has ended, for `waitSeconds` at most. @throws `operation.not_found` */
  get(id: string, waitSeconds?: number, signal?: AbortSignal): Promise<Operation>
  list(page: { limit: number; cursor?: string | undefined }): Promise<{ items: Operation[]; nextCursor: string | null }>
  /** Server-sent events, one for each change, the last one with the end. @throws `operation.not_found` */
  follow(id: string, signal: AbortSignal): Promise<Readable>
  /** @throws `operation.not_found`, `operation.finished` */
  cancel(id: string): Promise<Operation>
  /** Ends what a crash left running: `undo` gets what the work had stored. What can not be undone now is tried at the next start. */
  recover(undo: Undo): Promise<void>
  /** Those of a kind that were interrupted by a crash since a time (ISO 8601). */
  interrupted(kind: Operation['kind'], since: string): Promise<Operation[]>
  /** Cancels what runs and waits until it is undone. */
  close(): Promise<void>
}

export interface StartOptions {
  /** It changes nothing of the environment, and goes on beside whatever does. */
  shared?: boolean
}

interface Live extends Followed {
  isShared: boolean
  controller: AbortController
}

export function createOperations(database: Kysely<Tables>): Operations {
  const live = new Map<string, Live>()
  const busy = new Map<string, string>()

  function lock(environment: string, holder: string): void {
    const current = busy.get(environment)
    if (current !== undefined) {
      throw new HakuError('environment.busy', `The environment ${quote(environment)} is being worked on (${current}). Wait for it to end, or cancel it.`)
    }
    busy.set(environment, holder)
  }

  async function finish(entry: Live, state: Operation['state'], change: Partial<Operation>): Promise<void> {
    entry.operation = { ...entry.operation, ...change, state, finished: new Date().toISOString() }
    const { id, result, error, finished, progress } = entry.operation
    await database.updateTable('operations').where('id', '=', id)
      .set({ state, finished, progress: JSON.stringify(progress), result: result && JSON.stringify(result), error: error && JSON.stringify(error) }).execute()
  }

  async function run(entry: Live, work: (context: OperationContext) => Promise<Result>): Promise<void> {
    const { id, environment } = entry.operation
    const context = createContext(database, entry)
    try {
      const result = await work(context)
      await finish(entry, 'succeeded', { result })
    } catch (error) {
      const cancelled = entry.controller.signal.aborted && isHakuError(error, 'operation.cancelled')
      if (!isHakuError(error)) console.error(`[hakuriver] [operation] ${entry.operation.kind} of ${environment} failed:`, error)
      await finish(entry, cancelled ? 'cancelled' : 'failed', { error: problemOf(error) })
    } finally {
      if (!entry.isShared) busy.delete(environment)
      live.delete(id)
      entry.events.emit('change')
    }
  }

  async function find(id: string): Promise<Operation> {
    const running = live.get(id)
    if (running) return running.operation
    const row = await database.selectFrom('operations').selectAll().where('id', '=', id).executeTakeFirst()
    if (!row) throw new HakuError('operation.not_found', `There is no operation ${quote(id)}.`)
    return fromRow(row)
  }

  return {
    async start(kind, environment, work, { shared = false } = {}) {
      const id = createId()
      if (!shared) lock(environment, `operation ${id}`)
      const operation: Operation = { id, kind, environment, state: 'running', progress: { phase: 'start', bytes: null, totalBytes: null, message: '' }, created: new Date().toISOString(), finished: null, result: null, error: null }
      try {
        await database.insertInto('operations').values({ ...operation, progress: JSON.stringify(operation.progress), result: null, error: null, undo: null }).execute()
      } catch (error) {
        if (!shared) busy.delete(environment)
        throw error
      }
      const events = new EventEmitter()
      events.setMaxListeners(0)
      const entry: Live = { operation, isShared: shared, controller: new AbortController(), events, done: Promise.resolve() }
      live.set(id, entry)
      entry.done = run(entry, work).catch((error: unknown) => console.error(`[hakuriver] [operation] the end of ${id} could not be stored:`, error))
      return entry.operation
    },

    async exclusively(environment, work) {
      lock(environment, 'another request')
      try {
        return await work()
      } finally {
        busy.delete(environment)
      }
    },

    async get(id, waitSeconds = 0, signal) {
      const entry = live.get(id)
      if (entry && waitSeconds > 0) await waitFor(entry.done, waitSeconds * 1000, signal)
      return entry?.operation ?? find(id)
    },

    async list({ limit, cursor }) {
      let query = database.selectFrom('operations').selectAll().orderBy('id', 'desc').limit(limit)
      if (cursor) query = query.where('id', '<', cursor)
      const items = (await query.execute()).map((row) => live.get(row.id)?.operation ?? fromRow(row))
      return { items, nextCursor: items.length === limit ? (items.at(-1)?.id ?? null) : null }
    },

    async follow(id, signal) {
      const entry = live.get(id)
      const last = entry ? undefined : await find(id)
      return Readable.from(entry ? followOperation(entry, signal) : [toEvent(last)])
    },

    async cancel(id) {
      const entry = live.get(id)
      if (!entry) {
        const { state } = await find(id)
        throw new HakuError('operation.finished', `The operation ${id} has already ended: ${state}.`)
      }
      entry.controller.abort(new HakuError('operation.cancelled', `The operation ${id} was cancelled and undone.`))
      return entry.operation
    },

    async recover(undo) {
      const rows = await database.selectFrom('operations').selectAll().where((where) => where.or([where('state', '=', 'running'), where('undo', 'is not', null)])).execute()
      for (const row of rows) {
        const left = await tryUndo(row, undo)
        await database.updateTable('operations').where('id', '=', row.id).set({ undo: left, ...(row.state === 'running' && interrupted(row)) }).execute()
      }
    },

    async interrupted(kind, since) {
      const rows = await database.selectFrom('operations').selectAll().where('kind', '=', kind).where('state', '=', 'failed').where('created', '>', since).execute()
      return rows.map(fromRow).filter(({ error }) => error?.code === 'operation.interrupted')
    },

    async close() {
      for (const { operation, controller } of live.values()) controller.abort(new HakuError('operation.cancelled', `The operation ${operation.id} was undone because the Host stops. Start it again.`))
      await Promise.all([...live.values()].map(({ done }) => done))
    },
  }
}

// --- internal ---

function interrupted(row: OperationRow) {
  const { phase } = JSON.parse(row.progress) as OperationProgress
  const error = problemOf(new HakuError('operation.interrupted', `The Host was killed in the middle of this (phase ${phase}). What it had begun was undone; start it again.`))
  return { state: 'failed' as const, finished: new Date().toISOString(), error: JSON.stringify(error) }
}

/** Resolves to what is still to be undone. */
async function tryUndo(row: OperationRow, undo: Undo): Promise<string | null> {
  if (row.undo === null) return null
  try {
    await undo({ kind: row.kind, stored: JSON.parse(row.undo) })
    return null
  } catch (error) {
    console.error(`[hakuriver] [operation] the interrupted ${row.kind} of ${row.environment} could not be undone, the next start tries again: ${errorMessage(error)}`)
    return row.undo
  }
}

function createContext(database: Kysely<Tables>, entry: Live): OperationContext {
  const { id } = entry.operation
  const update = (values: { progress?: string; undo?: string | null }) => database.updateTable('operations').where('id', '=', id).set(values).execute()
  return {
    id,
    signal: entry.controller.signal,
    async report(progress) {
      const isNewPhase = progress.phase !== entry.operation.progress.phase
      entry.operation = { ...entry.operation, progress: { bytes: null, totalBytes: null, message: '', ...progress } }
      entry.events.emit('change')
      if (isNewPhase) await update({ progress: JSON.stringify(entry.operation.progress) })
    },
    async setUndo(undo) {
      await update({ undo: undo === null ? null : JSON.stringify(undo) })
    },
  }
}

function fromRow(row: OperationRow): Operation {
  const { undo: _, progress, result, error, ...rest } = row
  return { ...rest, progress: JSON.parse(progress), result: result && JSON.parse(result), error: error && JSON.parse(error) }
}
