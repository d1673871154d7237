import { lstat, opendir, unlink } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { errorMessage, systemErrorCode } from '#core/errors.ts'
import { parseOutputFileName, type SharedPaths } from '#core/paths.ts'
import { assertMark } from '#core/shared-directory.ts'
import type { OutputChannel } from '#core/tasks/channels.ts'

/** Removes the outputs of tasks that ended long ago. */
export interface Retention {
  /** Resolves to how many files it removed. Does nothing where outputs are kept for ever. @throws `storage.unavailable` */
  sweep(): Promise<number>
  /** Stops sweeping. */
  close(): Promise<void>
}

export interface RetentionOptions {
  paths: SharedPaths
  /** 0: for ever. */
  keepDays: number
  /** Those of `ids` whose tasks have ended before this time (ISO 8601). */
  endedBefore(ids: string[], time: string): Promise<ReadonlySet<string>>
  now?: () => number
}

const DAY_MS = 24 * 60 * 60 * 1000
/** A Host that has just started has other things to do. */
const FIRST_SWEEP_MS = 60_000
/** So many tasks at a time, and a rest after them. */
const STEP = 200
const REST_MS = 20

/** Whether outputs of a task that ended then are kept no more. */
export function isExpired(finished: string | null, keepDays: number, now = Date.now()): boolean {
  return keepDays > 0 && finished !== null && Date.parse(finished) < now - keepDays * DAY_MS
}

/** Sweeps each day, from a minute after the start. */
export function createRetention({ paths, keepDays, endedBefore, now = Date.now }: RetentionOptions): Retention {
  const closing = new AbortController()

  /** All files of a few tasks. The file must be as old as the task says: clocks of nodes may be wrong, and a lost task may still print. */
  async function removeOf(files: ReadonlyMap<string, string[]>, before: number): Promise<number> {
    const ended = await endedBefore([...files.keys()], new Date(before).toISOString())
    let removed = 0
    for (const id of ended) {
      for (const file of files.get(id) ?? []) {
        if (!(await isOlder(file, before))) continue
        await unlink(file)
        removed++
      }
    }
    return removed
  }

  async function sweepDirectory(stream: OutputChannel, before: number): Promise<number> {
    const directory = stream === 'stdout' ? paths.outputs : paths.errors
    let removed = 0
    let files = new Map<string, string[]>()
    for await (const { name } of await opendir(directory, { bufferSize: STEP })) {
      const found = parseOutputFileName(name)
      const file = found && paths[stream](found.taskId, found.instance)
      if (!found || !file?.endsWith(`/${name}`)) continue
      files.set(found.taskId, [...(files.get(found.taskId) ?? []), file])
      if (files.size < STEP) continue
      removed += await removeOf(files, before)
      files = new Map()
      await setTimeout(REST_MS, undefined, { signal: closing.signal })
    }
    return removed + (await removeOf(files, before))
  }

  async function sweep(): Promise<number> {
    if (keepDays === 0) return 0
    await assertMark(paths.mark)
    const before = now() - keepDays * DAY_MS
    const removed = (await sweepDirectory('stdout', before)) + (await sweepDirectory('stderr', before))
    if (removed > 0) console.error(`[hakuriver] [logs] removed ${removed} outputs of tasks that ended more than ${keepDays} days ago`)
    return removed
  }

  async function sweepDaily(): Promise<void> {
    for (let waitMs = FIRST_SWEEP_MS; ; waitMs = DAY_MS) {
      await setTimeout(waitMs, undefined, { signal: closing.signal, ref: false })
      await sweep().catch((error: unknown) => {
        closing.signal.throwIfAborted()
        console.error(`[hakuriver] [logs] outputs could not be cleaned up, tomorrow is the next try: ${errorMessage(error)}`)
      })
    }
  }

  const daily = keepDays === 0 ? Promise.resolve() : sweepDaily().catch(() => undefined)
  return {
    sweep,
    async close() {
      closing.abort()
      await daily
    },
  }
}

// --- internal ---

async function isOlder(file: string, before: number): Promise<boolean> {
  try {
    const stats = await lstat(file)
    return stats.isFile() && stats.mtimeMs < before
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false
    throw error
  }
}
