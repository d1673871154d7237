import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { demultiplex, type OutputChunk } from '#core/engine/demultiplex.ts'
import type { Engine, ExecDetails } from '#core/engine/engine.ts'
import { errorMessage, HakuError, isHakuError, systemErrorCode } from '#core/errors.ts'
import { type ProcessPaths, processPaths } from '#core/paths.ts'
import type { Channel } from '../../../processes/files.ts'
import { claimItem, unclaimItem, writeEnd } from '../item-files.ts'
import { killItem } from '../signal-item.ts'
import type { KeepOrder } from './protocol.ts'

/**
 * Starts an item once, keeps what it prints and how it ends. Resolves when both are in its files.
 *
 * @throws what the Engine says instead of starting it; `engine.conflict` if another keeper has it
 */
export async function keepItem(engine: Engine, order: KeepOrder, onStarted: () => void): Promise<void> {
  const paths = processPaths(order.directory)
  if (!claimItem(paths)) throw new HakuError('engine.conflict', 'Another keeper has started the item.')
  const files = { stdout: await openFile(paths, 'stdout'), stderr: await openFile(paths, 'stderr') }
  try {
    const stream = await engine.startExec(order.execId).catch((error: unknown) => {
      // It was not started, so the next one may try.
      if (!isHakuError(error, 'engine.unavailable')) unclaimItem(paths)
      throw error
    })
    onStarted()
    const write = createWriter(files, order)
    const copied = copy(demultiplex(stream), write)
    const details = await untilEnded(engine, order, copied)
    // What it has started ends with it, as in a container of its own.
    await killItem(engine, { containerId: order.containerId, pid: details?.pid ?? 0, id: order.taskId })
    await Promise.race([copied, setTimeout(OUTPUT_PATIENCE_MS, undefined, { ref: false })])
    stream.destroy()
    await copied
    await untilWritten(() => writeEnd(paths, { exitCode: details?.exitCode ?? null, note: details ? null : 'The Docker Engine was restarted while the item ran.' }))
  } finally {
    await files.stdout.close()
    await files.stderr.close()
  }
}

// --- internal ---

type Files = Record<Channel, FileHandle>

/** Whoever holds the output open then was never part of the item. */
const OUTPUT_PATIENCE_MS = 3000
/** The Engine notes the end a moment after the last byte. */
const FIRST_POLL_MS = 2
/** A process in the background may keep the output open for as long as it likes, so the end is looked for too. */
const POLL_MS = 1000
/** A full disk is looked at again after this time; the item waits meanwhile. */
const RETRY_MS = 1000

function openFile(paths: ProcessPaths, channel: Channel): Promise<FileHandle> {
  return open(paths.output(channel), constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600)
}

function createWriter(files: Files, { maxOutputBytes, directory }: KeepOrder): (chunk: OutputChunk) => Promise<void> {
  const limit = maxOutputBytes === null ? Infinity : maxOutputBytes + 1
  const room = { stdout: limit, stderr: limit }
  let problem: string | undefined
  return async ({ channel, bytes }) => {
    for (let rest = bytes.subarray(0, Math.min(room[channel], bytes.length)); rest.length > 0; ) {
      try {
        const { bytesWritten } = await files[channel].write(rest)
        room[channel] -= bytesWritten
        rest = rest.subarray(bytesWritten)
      } catch (error) {
        const message = errorMessage(error)
        if (message !== problem) console.error(`${directory}: ${message}`)
        problem = message
        await setTimeout(RETRY_MS)
      }
    }
  }
}

/** Until the stream ends, or breaks: that the Engine went away shows when it is asked for the end. */
async function copy(chunks: AsyncIterable<OutputChunk>, write: (chunk: OutputChunk) => Promise<void>): Promise<void> {
  try {
    for await (const chunk of chunks) await write(chunk)
  } catch (error) {
    console.error(errorMessage(error))
  }
}

/** Resolves to `undefined` if the Engine does not know any more. */
async function untilEnded(engine: Engine, { execId }: KeepOrder, copied: Promise<void>): Promise<ExecDetails | undefined> {
  let hasEnded = false
  const end = copied.then(() => (hasEnded = true))
  for (let pause = FIRST_POLL_MS; ; pause = hasEnded ? Math.min(pause * 2, POLL_MS) : FIRST_POLL_MS) {
    await (hasEnded ? setTimeout(pause) : Promise.race([end, setTimeout(POLL_MS)]))
    try {
      const details = await engine.inspectExec(execId)
      if (details?.status !== 'running') return details
    } catch (error) {
      // It comes back: its items have ended then.
      if (!isHakuError(error, 'engine.unavailable')) console.error(errorMessage(error))
    }
  }
}

async function untilWritten(write: () => void): Promise<void> {
  for (;;) {
    try {
      return write()
    } catch (error) {
      // Nobody waits for it: the directory was removed.
      if (systemErrorCode(error) === 'ENOENT') return
      console.error(errorMessage(error))
    }
    await setTimeout(RETRY_MS)
  }
}
