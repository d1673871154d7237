import { setTimeout } from 'node:timers/promises'
import type { OutputChunk } from '#core/engine/demultiplex.ts'
import { errorMessage, isHakuError } from '#core/errors.ts'
import { createBackoff } from '../backoff.ts'
import { type Executor, type Exit, OutputLost, type OutputStream } from './executor.ts'
import { LateWriteError, openOutputFiles, type OutputFiles, type Positions } from './output-files.ts'
import type { ExecutorServices } from './services.ts'
import type { TaskRun } from './task-run.ts'

export interface CollectOptions {
  executor: Pick<Executor, 'readOutput'>
  exited: Promise<Exit>
  /** The output from the start on, with its empty files; else it is read from its beginning. */
  live: { stream: OutputStream; files: OutputFiles } | undefined
}

export interface Collected {
  /** Of the files. */
  sizes: Readonly<Positions>
  /** Why bytes are missing; `undefined`: all are there. */
  lost: string | undefined
}

/** Between the end of a container and the end of its attached stream. More means that one of the two was cut. */
const LIVE_LAG_MS = 2000
/** How long a killed task waits for a storage that does not take its last output. */
const KILLED_PATIENCE_MS = 10_000
/** A log that the Engine itself can not read any more, such as after a power cut, is given up after so many tries. */
const UNREADABLE_TRIES = 8

/**
 * Brings the output of an execution into its files, each byte once.
 *
 * The short way follows the live stream. Whatever goes wrong with it (the Runner or the Engine died, the storage
 * refused to write), the node's own log has every byte: it is read again, and what the files hold is skipped. So a
 * full share never blocks the task and loses nothing: the node's disk keeps the bytes until the share takes them.
 */
export async function collectOutput(run: TaskRun, services: ExecutorServices, options: CollectOptions): Promise<Collected> {
  const { live, exited } = options
  let reason: unknown
  if (live) {
    try {
      if (await followLive(live.stream, live.files, exited)) {
        await live.files.finish()
        return { sizes: live.files.sizes, lost: undefined }
      }
    } catch (error) {
      services.closing.throwIfAborted()
      reason = error
    } finally {
      live.stream.destroy()
      await live.files.close()
    }
  }
  return recollect(run, services, options, reason)
}

// --- internal ---

/** @returns whether all came. @throws what the storage said */
async function followLive(stream: OutputStream, files: OutputFiles, exited: Promise<Exit>): Promise<boolean> {
  const failure: { storage?: unknown } = {}
  const pumped = pump(stream, (chunks) => files.write(chunks).catch((error: unknown) => {
    failure.storage = error
    throw error
  })).then(() => true, () => false)
  const first = await Promise.race([pumped, exited])
  if (first !== false) await Promise.race([Promise.all([pumped, exited]), setTimeout(LIVE_LAG_MS, undefined, { ref: false })])
  // Nobody else may write the files before the pump has come to rest.
  stream.destroy()
  const came = await pumped
  if (failure.storage !== undefined) throw failure.storage
  const exit = await Promise.race([exited, undefined])
  return came && typeof exit === 'object' && !exit.interrupted
}

async function recollect(run: TaskRun, services: ExecutorServices, options: CollectOptions, reason: unknown): Promise<Collected> {
  const { closing, paths } = services
  const backoff = createBackoff({ firstMs: 200, maxMs: 15_000 })
  const patience = killedPatience(run, options.exited)
  const interrupted = AbortSignal.any([closing, patience])
  let sizes: Readonly<Positions> = { stdout: 0, stderr: 0 }
  let failure = reason
  for (let unreadable = 0; ; ) {
    if (failure !== undefined) {
      if (failure instanceof OutputLost) return { sizes, lost: failure.message }
      if (!isHakuError(failure, ...TRANSIENT)) unreadable++
      if (patience.aborted || unreadable === UNREADABLE_TRIES) return { sizes, lost: errorMessage(failure) }
      run.tell(describeTrouble(failure))
      await backoff.wait(interrupted).catch(() => closing.throwIfAborted())
    }
    try {
      const { order } = run.record
      const files = await openOutputFiles(paths, order, { from: failure instanceof LateWriteError ? 'start' : 'end', maxBytes: order.maxOutputBytes })
      sizes = files.sizes
      await readLog(run, options, files)
      return { sizes, lost: undefined }
    } catch (error) {
      closing.throwIfAborted()
      failure = error
    }
  }
}

const TRANSIENT = ['engine.unavailable', 'storage.full', 'storage.unavailable'] as const

/** Whoever waits for the end says of an Engine that is away the same, word for word, so it is told once. */
function describeTrouble(failure: unknown): string {
  const message = errorMessage(failure)
  return isHakuError(failure, 'engine.unavailable') ? message : `${message} Nothing is lost: the node keeps the output and tries again.`
}

async function readLog(run: TaskRun, { executor, exited }: CollectOptions, files: OutputFiles): Promise<void> {
  const copy = async (follow: boolean) => {
    const skip = { ...files.positions }
    await pump(await executor.readOutput(run, { follow }), async (chunks) => {
      await files.write(skipKept(chunks, skip))
      run.tell(null)
    })
  }
  try {
    await copy(true)
    // Following may end a moment before the last lines are in the log.
    if ((await exited) !== 'gone') await copy(false)
    await files.finish()
  } finally {
    await files.close()
  }
}

async function pump({ chunks }: OutputStream, write: (chunks: OutputChunk[]) => Promise<void>): Promise<void> {
  for await (const some of chunks) await write(some)
}

/** Drops the bytes that the files hold already. Counts `skip` down. */
function skipKept(chunks: OutputChunk[], skip: Positions): OutputChunk[] {
  return chunks.flatMap(({ channel, bytes }) => {
    const kept = Math.min(skip[channel], bytes.length)
    skip[channel] -= kept
    return kept < bytes.length ? [{ channel, bytes: bytes.subarray(kept) }] : []
  })
}

/** Fires when a killed task has been over for so long that its last output is given up. */
function killedPatience(run: TaskRun, exited: Promise<Exit>): AbortSignal {
  const patience = new AbortController()
  const start = () => globalThis.setTimeout(() => patience.abort(), KILLED_PATIENCE_MS).unref()
  exited.then(
    () => (run.ending.aborted ? start() : run.ending.addEventListener('abort', start, { once: true })),
    () => undefined,
  )
  return patience.signal
}
