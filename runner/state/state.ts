import type { Kysely } from 'kysely'
import type { TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { errorMessage } from '#core/errors.ts'
import { isFinal, type TaskWish } from '#core/tasks/states.ts'
import { type ImageRow, migrations, type Tables, type TaskRow } from './tables.ts'

/** What a Runner knows of a task. The report is the last one; it waits for the Host while its sequence is not acknowledged. */
export interface TaskRecord {
  readonly order: TaskOrder
  report: TaskReport
  /** Sequence of the last report that the Host has stored. */
  acknowledged: number
  wish: TaskWish
  /** Set once a container was made: such a task never starts from the beginning again. */
  containerId: string | null
  /** When the end was acknowledged and the container removed, ISO 8601. The record stays a while, so that a late order starts nothing. */
  released: string | null
}

/** A version whose image the Engine has, as far as we know. */
export interface ImageRecord {
  environment: string
  version: number
  imageId: string
  /** ISO 8601. */
  lastUsed: string
  /** Bytes. */
  size: number
  /** Lowest first; empty for a tarball made by other tools. */
  layers: readonly { digest: string; size: number }[]
  /** The Host asked for it although a newer one is here: it stays until a task has used it. */
  isAwaited: boolean
}

/**
 * The Runner's memory. Everything is answered from memory; writes of many tasks share one transaction, because each one
 * costs a flush of the disk.
 */
export interface RunnerState {
  find(id: string): TaskRecord | undefined
  list(): TaskRecord[]
  /** In memory at once, on the disk when it resolves. */
  save(record: TaskRecord): Promise<void>
  /** In memory at once, on the disk soon: for what a restart could find out again. */
  saveSoon(record: TaskRecord): void
  remove(id: string): void
  listImages(): ImageRecord[]
  saveImage(image: ImageRecord): Promise<void>
  /** Remembers that a task uses the image now. */
  useImage(image: ImageRecord): void
  removeImage(image: ImageRecord): Promise<void>
  close(): Promise<void>
}

/** A report may be ahead of the disk by what is told in {@link LAZY_MS}; the Host ignores sequences it has seen. */
const SEQUENCE_GAP = 1000
const LAZY_MS = 100
const ROWS_PER_STATEMENT = 500
/** Uses of an image within this time are not written one by one: a task's start has no time for it. */
const USE_PRECISION_MS = 60_000

/** Opens the state. Sequences of unfinished tasks jump ahead of all that was reported before. @throws `internal.error` */
export async function openRunnerState(file: string): Promise<RunnerState> {
  const database = await openDatabase<Tables>(file, migrations)
  const rows = await database.selectFrom('tasks').selectAll().execute()
  const records = new Map(rows.map((row) => [row.id, fromRow(row)]))
  let images = (await database.selectFrom('images').selectAll().execute()).map(toImage)
  const writer = createWriter(database, records)
  /** When the last use of a version was written, in Unix milliseconds. */
  const usesWritten = new Map<string, number>()

  return {
    find: (id) => records.get(id),
    list: () => [...records.values()],
    save(record) {
      records.set(record.order.id, record)
      return writer.write(record.order.id)
    },
    saveSoon(record) {
      records.set(record.order.id, record)
      writer.writeSoon(record.order.id)
    },
    remove(id) {
      records.delete(id)
      writer.writeSoon(id)
    },
    listImages: () => images,
    async saveImage(image) {
      images = [...images.filter((known) => !isSameVersion(known, image)), image]
      const values = fromImage(image)
      await database.insertInto('images').values(values).onConflict((conflict) => conflict.columns(['environment', 'version']).doUpdateSet(values)).execute()
    },
    useImage(image) {
      const lastUsed = new Date().toISOString()
      images = images.map((known) => (isSameVersion(known, image) ? { ...known, lastUsed, isAwaited: false } : known))
      const key = `${image.environment}-${image.version}`
      if (Date.now() - (usesWritten.get(key) ?? 0) < USE_PRECISION_MS) return
      usesWritten.set(key, Date.now())
      const { environment, version } = image
      database.updateTable('images').set({ last_used: lastUsed, is_awaited: 0 }).where('environment', '=', environment).where('version', '=', version).execute().catch((error: unknown) => {
        console.error(`[hakuriver] [runner] the last use of ${key} can not be written: ${errorMessage(error)}`)
      })
    },
    async removeImage(image) {
      images = images.filter((known) => !isSameVersion(known, image))
      await database.deleteFrom('images').where('environment', '=', image.environment).where('version', '=', image.version).execute()
    },
    async close() {
      await writer.close()
      await database.destroy()
    },
  }
}

// --- internal ---

interface Writer {
  write(id: string): Promise<void>
  writeSoon(id: string): void
  close(): Promise<void>
}

/** Group commit: ids that are due are written together, one transaction after the other. */
function createWriter(database: Kysely<Tables>, records: ReadonlyMap<string, TaskRecord>): Writer {
  let due = new Set<string>()
  let scheduled: Promise<void> | undefined
  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  async function flush(): Promise<void> {
    const ids = due
    due = new Set()
    try {
      await writeRows(database, records, ids)
    } catch (error) {
      for (const id of ids) due.add(id)
      throw error
    }
  }

  function schedule(): Promise<void> {
    scheduled ??= running.then(() => new Promise<void>((resolve) => setImmediate(resolve))).then(() => {
      scheduled = undefined
      const result = flush()
      running = result.catch(() => undefined)
      return result
    })
    return scheduled
  }

  function flushSoon(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      schedule().catch((error: unknown) => {
        console.error(`[hakuriver] [runner] the state can not be written, trying again: ${errorMessage(error)}`)
        flushSoon()
      })
    }, LAZY_MS)
  }

  return {
    write(id) {
      due.add(id)
      return schedule()
    },
    writeSoon(id) {
      due.add(id)
      flushSoon()
    },
    async close() {
      clearTimeout(timer)
      timer = undefined
      await schedule()
    },
  }
}

async function writeRows(database: Kysely<Tables>, records: ReadonlyMap<string, TaskRecord>, ids: ReadonlySet<string>): Promise<void> {
  const rows = [...ids].flatMap((id) => records.get(id) ?? []).map(toRow)
  const removed = [...ids].filter((id) => !records.has(id))
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    await database
      .insertInto('tasks')
      .values(rows.slice(start, start + ROWS_PER_STATEMENT))
      .onConflict((conflict) =>
        conflict.column('id').doUpdateSet(({ ref }) => ({
          report: ref('excluded.report'),
          acknowledged: ref('excluded.acknowledged'),
          wish: ref('excluded.wish'),
          container_id: ref('excluded.container_id'),
          released: ref('excluded.released'),
        })),
      )
      .execute()
  }
  for (let start = 0; start < removed.length; start += ROWS_PER_STATEMENT) {
    await database.deleteFrom('tasks').where('id', 'in', removed.slice(start, start + ROWS_PER_STATEMENT)).execute()
  }
}

function toRow(record: TaskRecord): TaskRow {
  return {
    id: record.order.id,
    task_order: JSON.stringify(record.order),
    report: JSON.stringify(record.report),
    acknowledged: record.acknowledged,
    wish: record.wish,
    container_id: record.containerId,
    released: record.released,
  }
}

function fromRow(row: TaskRow): TaskRecord {
  const report = JSON.parse(row.report) as TaskReport
  if (!isFinal(report.state)) report.sequence += SEQUENCE_GAP
  return {
    order: JSON.parse(row.task_order) as TaskOrder,
    report,
    acknowledged: row.acknowledged,
    wish: row.wish,
    containerId: row.container_id,
    released: row.released,
  }
}

function toImage(row: ImageRow): ImageRecord {
  return { environment: row.environment, version: row.version, imageId: row.image_id, lastUsed: row.last_used, size: row.size, layers: JSON.parse(row.layers) as ImageRecord['layers'], isAwaited: row.is_awaited === 1 }
}

function fromImage(image: ImageRecord): ImageRow {
  return { environment: image.environment, version: image.version, image_id: image.imageId, last_used: image.lastUsed, size: image.size, layers: JSON.stringify(image.layers), is_awaited: image.isAwaited ? 1 : 0 }
}

function isSameVersion(left: ImageRecord, right: ImageRecord): boolean {
  return left.environment === right.environment && left.version === right.version
}
