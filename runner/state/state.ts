import type { Execution, TaskOrder, TaskReport } from '#core/api/schemas.ts'
import { openDatabase } from '#core/database/open.ts'
import { errorMessage } from '#core/errors.ts'
import { executionKey } from '#core/tasks/execution-key.ts'
import { isFinal, type TaskWish } from '#core/tasks/states.ts'
import { fromImage, fromRow, toImage } from './rows.ts'
import { migrations, type Tables } from './tables.ts'
import { createWriter } from './writer.ts'

/** What a Runner knows of one execution of a task. The report is the last one; it waits for the Host while its sequence is not acknowledged. */
export interface TaskRecord {
  readonly order: TaskOrder
  report: TaskReport
  /** Sequence of the last report that the Host has stored. */
  acknowledged: number
  wish: TaskWish
  /** It ran for so long that it was ended, or is about to be. */
  isTimedOut: boolean
  /** By what its executor finds it again. Set once something was made: such an execution never starts from the beginning again. */
  handle: string | null
  /** CPUs that are its own until it ends, as the kernel writes them; `null`: it has none of its own. */
  cpus: string | null
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
  find(execution: Execution): TaskRecord | undefined
  /** All executions of a task that are remembered. */
  ofTask(id: string): TaskRecord[]
  list(): TaskRecord[]
  /** Those that have not been released. */
  listActive(): TaskRecord[]
  /** In memory at once, on the disk when it resolves. */
  save(record: TaskRecord): Promise<void>
  /** In memory at once, on the disk soon: for what a restart could find out again. */
  saveSoon(record: TaskRecord): void
  remove(execution: Execution): void
  listImages(): ImageRecord[]
  saveImage(image: ImageRecord): Promise<void>
  /** Remembers that a task uses the image now. */
  useImage(image: ImageRecord): void
  removeImage(image: ImageRecord): Promise<void>
  close(): Promise<void>
}

/** Uses of an image within this time are not written one by one: a task's start has no time for it. */
const USE_PRECISION_MS = 60_000

/** Opens the state. Sequences of unfinished tasks jump ahead of all that was reported before, on the disk too: the next start jumps further. @throws `internal.error` */
export async function openRunnerState(file: string): Promise<RunnerState> {
  const database = await openDatabase<Tables>(file, migrations)
  const rows = await database.selectFrom('executions').selectAll().execute()
  const records = new Map(rows.map((row) => [executionKey(row), fromRow(row)]))
  /** Task id → keys. */
  const tasks = new Map<string, Set<string>>()
  for (const [key, { order }] of records) addKey(tasks, order.id, key)
  /** There may be thousands that are over for each of these, and they are gone through at every report. */
  const active = new Map([...records].filter(([, { released }]) => released === null))
  let images = (await database.selectFrom('images').selectAll().execute()).map(toImage)
  const writer = createWriter(database, records)
  await Promise.all([...active.values()].filter(({ report }) => !isFinal(report.state)).map((record) => writer.write(executionKey(record.order))))
  /** When the last use of a version was written, in Unix milliseconds. */
  const usesWritten = new Map<string, number>()

  function remember(record: TaskRecord): string {
    const key = executionKey(record.order)
    records.set(key, record)
    addKey(tasks, record.order.id, key)
    if (record.released === null) active.set(key, record)
    else active.delete(key)
    return key
  }

  return {
    find: (execution) => records.get(executionKey(execution)),
    ofTask: (id) => [...(tasks.get(id) ?? [])].flatMap((key) => records.get(key) ?? []),
    list: () => [...records.values()],
    listActive: () => [...active.values()],
    save: (record) => writer.write(remember(record)),
    saveSoon: (record) => writer.writeSoon(remember(record)),
    remove(execution) {
      const key = executionKey(execution)
      records.delete(key)
      active.delete(key)
      const keys = tasks.get(execution.id)
      if (keys?.delete(key) && keys.size === 0) tasks.delete(execution.id)
      writer.writeSoon(key)
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

function addKey(tasks: Map<string, Set<string>>, id: string, key: string): void {
  const keys = tasks.get(id)
  if (keys) keys.add(key)
  else tasks.set(id, new Set([key]))
}

function isSameVersion(left: ImageRecord, right: ImageRecord): boolean {
  return left.environment === right.environment && left.version === right.version
}
